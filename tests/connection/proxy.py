"""A TCP proxy that can be cut, restored and silenced, also as one that wants HTTP's CONNECT first."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import anyio
from anyio.abc import SocketAttribute, SocketStream, TaskGroup, TaskStatus

BROKEN = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, OSError)


class Proxy:
    """Passes bytes on to a target, from one port that stays the same. Made by `proxy`."""

    def __init__(self, target: str, tasks: TaskGroup, basic_auth: str | None) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._tasks = tasks
        self._basic_auth = basic_auth
        self._open = anyio.CancelScope()
        self._silent_up_to = 0
        self._port = 0
        self.accepted = 0
        self.refused = 0
        self.sent_bytes = 0
        """To the target."""
        self.answered_bytes = 0

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self._port}"

    async def cut(self) -> None:
        """Closes everything, the port too."""
        closed = self._closed
        self._open.cancel()
        await closed.wait()

    async def restore(self) -> None:
        await self._tasks.start(self._listen)

    def silence(self) -> None:
        """The connections that are open say nothing more, in both directions, and are not closed; new ones work."""
        self._silent_up_to = self.accepted

    async def _listen(self, *, task_status: TaskStatus[None]) -> None:
        self._closed = anyio.Event()
        with anyio.CancelScope() as self._open:
            async with await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=self._port) as listener:
                self._port = listener.extra(SocketAttribute.local_port)
                task_status.started()
                await listener.serve(self._serve)
        self._closed.set()

    async def _serve(self, client: SocketStream) -> None:
        self.accepted += 1
        number = self.accepted
        with suppress(*BROKEN):
            async with client:
                if self._basic_auth is not None and not await self._is_let_in(client):
                    return
                async with await anyio.connect_tcp(*self._target) as server, anyio.create_task_group() as both:
                    both.start_soon(self._pass, number, client, server, self._count_sent)
                    both.start_soon(self._pass, number, server, client, self._count_answered)

    async def _is_let_in(self, client: SocketStream) -> bool:
        asked = b""
        while not asked.endswith(b"\r\n\r\n"):
            asked += await client.receive()
        assert self._basic_auth is not None
        wanted = base64.b64encode(self._basic_auth.encode())
        is_good = asked.startswith(b"CONNECT 127.0.0.1:") and b"Proxy-Authorization: Basic " + wanted + b"\r\n" in asked
        self.refused += not is_good
        await client.send(b"HTTP/1.1 200 Connected\r\n\r\n" if is_good else b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        return is_good

    async def _pass(self, number: int, source: SocketStream, sink: SocketStream, count: Callable[[int], None]) -> None:
        with suppress(*BROKEN):
            async for data in source:
                if number <= self._silent_up_to:
                    continue
                count(len(data))
                await sink.send(data)
        with suppress(*BROKEN):
            await sink.aclose()

    def _count_sent(self, count: int) -> None:
        self.sent_bytes += count

    def _count_answered(self, count: int) -> None:
        self.answered_bytes += count


@asynccontextmanager
async def proxy(target: str, *, basic_auth: str | None = None) -> AsyncIterator[Proxy]:
    """A proxy before `target`; with `basic_auth` ("user:password") an HTTP proxy that asks for it."""
    async with anyio.create_task_group() as tasks:
        one = Proxy(target, tasks, basic_auth)
        await one.restore()
        yield one
        tasks.cancel_scope.cancel()
