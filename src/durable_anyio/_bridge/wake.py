"""What calls the core's side of the program when items wait: no task of a task group, and on asyncio no task at all.

Outside any task group, because a core lives as long as its client, and a client may be opened and closed anywhere: a task group would tie
the two to one block of code. On asyncio a callback of the loop, because a task that waits for a descriptor registers and forgets it
again each time, which costs more than what most wake-ups have to do. `anyio` has neither, so that this file is the one that knows the
hosts by name.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
import sniffio

__all__ = ["Pump", "open_pump"]


class Pump:
    """Calls `turn` on the host's thread while the descriptor is readable, and, as long as it answers True, again after the host's other
    tasks had their turn.

    :param turn: must not raise.
    :param ended: hears that the host has ended the pump, or `cancel` was called.
    """

    def __init__(self, descriptor: int, turn: Callable[[], bool], ended: Callable[[], None], *, name: str) -> None:
        self._descriptor = descriptor
        self._turn = turn
        self._ended = ended
        self._name = name

    def cancel(self) -> None:
        """Ends it, as soon as the host lets it. Call on the host's thread; harmless to repeat."""
        raise NotImplementedError

    async def wait(self) -> None:
        """Waits until it has ended."""
        raise NotImplementedError


class _LoopPump(Pump):
    """On an asyncio event loop."""

    def __init__(self, descriptor: int, turn: Callable[[], bool], ended: Callable[[], None], *, name: str) -> None:
        super().__init__(descriptor, turn, ended, name=name)
        self._loop = asyncio.get_running_loop()
        self._again: asyncio.Handle | None = None
        self._is_over = False
        # Outside a task nobody can tell by itself which library runs.
        self._context = contextvars.copy_context()
        self._context.run(sniffio.current_async_library_cvar.set, "asyncio")
        self._context.run(self._loop.add_reader, descriptor, self._on_readable)

    def _on_readable(self) -> None:
        if self._again is None and not self._is_over:
            self._take_turn()

    def _take_turn(self) -> None:
        self._again = None
        if self._turn() and not self._is_over:
            self._again = self._loop.call_soon(self._take_turn, context=self._context)

    def cancel(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        if self._again is not None:
            self._again.cancel()
        with suppress(RuntimeError):  # the loop is closed, and has forgotten the descriptor itself
            self._loop.remove_reader(self._descriptor)
        self._ended()

    async def wait(self) -> None:
        await anyio.lowlevel.checkpoint()


class _TrioPump(Pump):
    """A system task of Trio's."""

    def __init__(self, descriptor: int, turn: Callable[[], bool], ended: Callable[[], None], *, name: str) -> None:
        import trio

        super().__init__(descriptor, turn, ended, name=name)
        self._scope = trio.CancelScope()
        self._done = trio.Event()
        self._wait_readable: Any = trio.lowlevel.wait_readable
        self._checkpoint: Any = trio.lowlevel.checkpoint
        trio.lowlevel.spawn_system_task(self._run, name=name)

    async def _run(self) -> None:
        try:
            with self._scope:
                while True:
                    await self._wait_readable(self._descriptor)
                    while self._turn():
                        # Two, because Trio shuffles what is ready: after a single one this task may run twice in a row.
                        await self._checkpoint()
                        await self._checkpoint()
        finally:
            self._done.set()
            self._ended()

    def cancel(self) -> None:
        self._scope.cancel()

    async def wait(self) -> None:
        await self._done.wait()


def open_pump(descriptor: int, turn: Callable[[], bool], ended: Callable[[], None], *, name: str) -> Pump:
    """The pump for the host that runs."""
    kind = _TrioPump if sniffio.current_async_library() == "trio" else _LoopPump
    return kind(descriptor, turn, ended, name=name)
