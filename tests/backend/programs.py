"""Random structured-concurrency programs, and an interpreter that runs them on any AnyIO backend and notes what happens.

A program is a tree of plain tuples. Numbering it gives every operation an identity; waiting times are made of it, so that two different
sums of waits never meet by chance: what happens at one instant is then caused by one thing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import anyio
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint
from hypothesis import strategies as st

Op = tuple[Any, ...]
Body = list[Any]

EVENTS = 2
LOCKS = 2
END_OF_TIME = float(2**44)


class Boom(Exception):
    """The error that programs raise."""


def _leaf() -> st.SearchStrategy[Op]:
    small = st.integers(0, 3)
    return st.one_of(
        st.tuples(st.just("sleep"), st.integers(0, 6)),
        st.tuples(st.just("sleep"), st.integers(0, 6)),
        st.tuples(st.just("checkpoint")),
        st.tuples(st.just("shielded")),
        st.tuples(st.just("wait"), small),
        st.tuples(st.just("set"), small),
        st.tuples(st.just("cancel"), st.integers(0, 20)),
        st.tuples(st.just("shield"), st.integers(0, 20), st.booleans()),
        st.tuples(st.just("deadline"), st.integers(0, 20), st.integers(-1, 6)),
        st.tuples(st.just("send"), small),
        st.tuples(st.just("receive"), small),
        st.tuples(st.just("raise")),
        st.tuples(st.just("spawn_outer"), st.lists(st.tuples(st.just("sleep"), st.integers(0, 6)), max_size=2)),
    )


def _branch(child: st.SearchStrategy[Op]) -> st.SearchStrategy[Op]:
    body = st.lists(child, max_size=4)
    small = st.integers(0, 3)
    return st.one_of(
        st.tuples(st.just("group"), body, st.lists(body, max_size=3)),
        st.tuples(st.just("group"), body, st.lists(body, max_size=3)),
        st.tuples(st.just("scope"), st.one_of(st.none(), st.integers(-1, 6)), st.booleans(), body),
        st.tuples(st.just("scope"), st.one_of(st.none(), st.integers(-1, 6)), st.booleans(), body),
        st.tuples(st.just("fail_after"), st.integers(0, 6), body),
        st.tuples(st.just("start"), body, st.booleans(), body),
        st.tuples(st.just("lock"), small, body),
        st.tuples(st.just("limit"), small, body),
        st.tuples(st.just("finally"), body, st.booleans(), body),
        st.tuples(st.just("catch"), body),
    )


PROGRAMS: st.SearchStrategy[Body] = st.lists(st.recursive(_leaf(), _branch, max_leaves=22), min_size=1, max_size=5)


def shape(error: BaseException) -> Any:
    """Describe an exception and its members, whatever their order."""
    if isinstance(error, BaseExceptionGroup):
        return ("group", sorted((shape(member) for member in error.exceptions), key=repr))
    if isinstance(error, anyio.get_cancelled_exc_class()):
        return "Cancelled"
    return type(error).__name__


class Interpreter:
    """Runs one program once."""

    def __init__(self) -> None:
        self.trace: list[tuple[float, str, Any]] = []
        self._next = 0
        self._scopes: list[anyio.CancelScope] = []

    def note(self, task: str, what: Any) -> None:
        self.trace.append((anyio.current_time(), task, what))

    async def main(self, program: Body) -> list[tuple[float, str, Any]]:
        numbered, _ = number(program, 0)
        self.events = [anyio.Event() for _ in range(EVENTS)]
        self.locks = [anyio.Lock(fast_acquire=i % 2 == 1) for i in range(LOCKS)]
        self.limiters = [anyio.CapacityLimiter(1), anyio.CapacityLimiter(2)]
        self.streams = [anyio.create_memory_object_stream[Any](i) for i in range(2)]
        try:
            async with anyio.create_task_group() as group:
                with anyio.CancelScope() as scope:
                    group.start_soon(self.rescue, scope)
                    await self.body(numbered, "root", [])
                self.note("root", ("end", scope.cancelled_caught))
                group.cancel_scope.cancel()
        except BaseException as error:
            self.note("root", ("raised", shape(error)))
        for send, receive in self.streams:
            send.close()
            receive.close()
        return self.trace

    async def rescue(self, scope: anyio.CancelScope) -> None:
        """End programs that wait for ever, behind shields too."""
        while True:
            await anyio.sleep(END_OF_TIME)
            scope.cancel()
            for shielded in self._scopes:
                shielded.shield = False

    async def body(self, body: Body, task: str, groups: list[anyio.abc.TaskGroup]) -> None:
        for number_, op in body:
            self.note(task, (number_, op[0]))
            try:
                await getattr(self, "op_" + op[0])(number_, task, groups, *op[1:])
            except BaseException as error:
                self.note(task, (number_, "raised", shape(error)))
                raise
            self.note(task, (number_, "done"))

    def _scope(self, index: int) -> anyio.CancelScope | None:
        return self._scopes[index % len(self._scopes)] if self._scopes else None

    async def op_sleep(self, n: int, task: str, groups: Any, length: int) -> None:
        await anyio.sleep(delay(n, length))

    async def op_checkpoint(self, n: int, task: str, groups: Any) -> None:
        await checkpoint()

    async def op_shielded(self, n: int, task: str, groups: Any) -> None:
        await cancel_shielded_checkpoint()

    async def op_wait(self, n: int, task: str, groups: Any, index: int) -> None:
        await self.events[index % EVENTS].wait()

    async def op_set(self, n: int, task: str, groups: Any, index: int) -> None:
        self.events[index % EVENTS].set()

    async def op_cancel(self, n: int, task: str, groups: Any, index: int) -> None:
        if scope := self._scope(index):
            scope.cancel()

    async def op_shield(self, n: int, task: str, groups: Any, index: int, value: bool) -> None:
        if scope := self._scope(index):
            scope.shield = value

    async def op_deadline(self, n: int, task: str, groups: Any, index: int, length: int) -> None:
        if scope := self._scope(index):
            scope.deadline = anyio.current_time() + delay(n, length) if length >= 0 else -math.inf

    async def op_send(self, n: int, task: str, groups: Any, index: int) -> None:
        await self.streams[index % 2][0].send(n)

    async def op_receive(self, n: int, task: str, groups: Any, index: int) -> None:
        self.note(task, ("received", await self.streams[index % 2][1].receive()))

    async def op_raise(self, n: int, task: str, groups: Any) -> None:
        raise Boom(str(n))

    async def op_spawn_outer(self, n: int, task: str, groups: list[anyio.abc.TaskGroup], body: Body) -> None:
        if groups:
            groups[0].start_soon(self.body, body, f"{task}/{n}o", [])

    async def op_group(self, n: int, task: str, groups: list[anyio.abc.TaskGroup], body: Body, children: list[Body]) -> None:
        async with anyio.create_task_group() as group:
            self._scopes.append(group.cancel_scope)
            for index, child in enumerate(children):
                group.start_soon(self.body, child, f"{task}/{n}.{index}", [*groups, group])
            await self.body(body, task, [*groups, group])

    async def op_scope(self, n: int, task: str, groups: Any, length: int | None, shield: bool, body: Body) -> None:
        deadline = math.inf if length is None else -math.inf if length < 0 else anyio.current_time() + delay(n, length)
        with anyio.CancelScope(deadline=deadline, shield=shield) as scope:
            self._scopes.append(scope)
            await self.body(body, task, groups)
        self.note(task, (n, scope.cancel_called, scope.cancelled_caught, anyio.current_effective_deadline()))

    async def op_fail_after(self, n: int, task: str, groups: Any, length: int, body: Body) -> None:
        with anyio.fail_after(delay(n, length)) as scope:
            self._scopes.append(scope)
            await self.body(body, task, groups)

    async def op_start(self, n: int, task: str, groups: Any, before: Body, starts: bool, after: Body) -> None:
        async def child(*, task_status: anyio.abc.TaskStatus[int]) -> None:
            await self.body(before, f"{task}/{n}s", groups)
            if starts:
                task_status.started(n)
            await self.body(after, f"{task}/{n}s", groups)

        async with anyio.create_task_group() as group:
            self._scopes.append(group.cancel_scope)
            self.note(task, ("started", await group.start(child)))

    async def op_lock(self, n: int, task: str, groups: Any, index: int, body: Body) -> None:
        async with self.locks[index % LOCKS]:
            self.note(task, (n, "locked"))
            await self.body(body, task, groups)

    async def op_limit(self, n: int, task: str, groups: Any, index: int, body: Body) -> None:
        async with self.limiters[index % 2]:
            self.note(task, (n, "borrowed"))
            await self.body(body, task, groups)

    async def op_finally(self, n: int, task: str, groups: Any, body: Body, shield: bool, cleanup: Body) -> None:
        try:
            await self.body(body, task, groups)
        finally:
            with anyio.CancelScope(shield=shield) as scope:
                self._scopes.append(scope)
                await self.body(cleanup, task, groups)

    async def op_catch(self, n: int, task: str, groups: Any, body: Body) -> None:
        try:
            await self.body(body, task, groups)
        except Exception as error:
            self.note(task, (n, "caught", shape(error)))


def delay(number_: int, length: int) -> float:
    """Return the waiting time of operation `number_`; 0 for length 0."""
    return 0.0 if length == 0 else float((length << 24) + (1 << number_ % 24))


def number(body: Body, start: int) -> tuple[Body, int]:
    """Give every operation of a tree its number."""
    result = []
    for op in body:
        own, start = start, start + 1
        parts: list[Any] = []
        for part in op:
            if isinstance(part, list) and part and isinstance(part[0], list):
                bodies = []
                for inner in part:
                    numbered, start = number(inner, start)
                    bodies.append(numbered)
                part = bodies
            elif isinstance(part, list):
                part, start = number(part, start)
            parts.append(part)
        result.append((own, tuple(parts)))
    return result, start


def by_task(trace: list[tuple[float, str, Any]]) -> dict[str, list[Any]]:
    """Split a trace into what each task saw."""
    tasks: dict[str, list[Any]] = {}
    for time, task, what in trace:
        tasks.setdefault(task, []).append((time, what))
    return tasks


def interpret(program: Body) -> Callable[[], Any]:
    """Return an async function that runs the program and returns its trace."""

    async def run() -> Any:
        return await Interpreter().main(program)

    return run
