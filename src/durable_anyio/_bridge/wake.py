"""The pump's task: a task of the host's own, outside any task group.

Outside, because a core lives as long as its client, and a client may be opened and closed anywhere: a task group would tie
the two to one block of code. `anyio` has no such task, so that this file is the one that knows the hosts by name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import sniffio

__all__ = ["HostTask"]


class HostTask:
    """Runs `body` until it returns or `cancel` is called. `body` must not raise: nobody would see it."""

    def __init__(self, body: Callable[[], Awaitable[None]], *, name: str) -> None:
        self._body = body
        self._done = anyio.Event()
        self._scope = anyio.CancelScope()
        # Kept: asyncio holds its tasks weakly only.
        self._task: Any = None
        if sniffio.current_async_library() == "trio":
            import trio

            self._task = trio.lowlevel.spawn_system_task(self._run, name=name)
        else:
            self._task = asyncio.get_running_loop().create_task(self._run(), name=name)

    async def _run(self) -> None:
        try:
            with self._scope:
                await self._body()
        except asyncio.CancelledError:
            pass  # the loop cancels what is left when it ends; a task that ends so is as good as finished
        finally:
            self._done.set()

    def cancel(self) -> None:
        """Asks the task to end. Call on the host's thread."""
        self._scope.cancel()

    async def wait(self) -> None:
        """Waits until the task has ended."""
        await self._done.wait()
