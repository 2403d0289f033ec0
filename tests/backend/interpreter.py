"""Runs a program of `programs` on whatever AnyIO backend is current, and notes what every task sees.

Sleeps end at even times and deadlines are odd ones: the two never meet, which is where the durable backend differs from Trio on purpose
(a sleep that ends at its scope's deadline has ended). Deadlines meet each other, and so do sleeps, on the coarse scale; on the fine
scale no two sums of waits meet by chance, so that what happens at one instant has one cause.
"""

from __future__ import annotations

import math
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any

import anyio
from anyio import CancelScope
from anyio.abc import TaskGroup, TaskStatus
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint, checkpoint_if_cancelled

from .programs import NEVER, PAST, Body, Numbered, number, scopes, tasks

COUNT = 3
"""How many events, locks, ... there are."""

END_OF_TIME = float(2**26)
"""Later than any program's own waits."""

RESCUES = 40
"""Each ends some waiting. A program that needs more is stuck: a wake-up was lost."""

VARIABLE: ContextVar[int] = ContextVar("variable")

Outcome = tuple[tuple[str, tuple[Any, ...]], ...]
"""What each task saw, and when."""


class Boom(Exception):
    """The error that programs raise."""


class Bang(Exception):
    """Another one, which `catch_some` lets pass."""


class Track:
    """What one task saw."""

    __slots__ = ("name", "notes")

    def __init__(self, name: str) -> None:
        self.name = name
        self.notes: list[Any] = []


def shape(error: BaseException) -> Any:
    """Describe an exception and its members, whatever their order."""
    if isinstance(error, BaseExceptionGroup):
        return ("group", tuple(sorted((shape(member) for member in error.exceptions), key=repr)))
    if isinstance(error, anyio.get_cancelled_exc_class()):
        return "Cancelled"
    if isinstance(error, Boom | Bang):
        return (type(error).__name__, *error.args)
    return type(error).__name__


class Interpreter:
    """Runs one program once."""

    def __init__(self, program: Body, *, fine: bool = True) -> None:
        self._program, self.operations = number(program)
        self._scope_numbers = scopes(self._program) or [0]
        self._task_numbers = tasks(self._program) or [0]
        self._fine = fine
        self.pauses: dict[int, int] = {}
        """How many extra schedule points stand before operation `n`, at `n`, and after it, at `~n`."""
        self._tracks: dict[str, Track] = {}
        self._scopes: dict[int, CancelScope] = {}
        self._groups: dict[int, TaskGroup] = {}
        self._handles: dict[int, Any] = {}
        self.error: BaseException | None = None
        """What left the program."""
        self.log: list[tuple[str, Any]] = []
        """All notes of all tasks in the order in which they were made: what must be the same in every run of one order."""

    # -- the run

    async def main(self) -> Outcome:
        """Run the program and return what each task saw, and when."""
        self._start = anyio.current_time()
        VARIABLE.set(-1)  # a value of the run before, in the task that runs all of them, must not be seen
        self.events = [anyio.Event() for _ in range(COUNT)]
        self.locks = [anyio.Lock(fast_acquire=i == 1) for i in range(COUNT)]
        self.conditions = [anyio.Condition() for _ in range(COUNT)]
        self.limiters = [anyio.CapacityLimiter(i + 1) for i in range(COUNT)]
        self.semaphore = anyio.Semaphore(1, max_value=2)
        self.streams = [anyio.create_memory_object_stream[int](i) for i in range(COUNT)]
        root = self._track("root")
        try:
            async with anyio.create_task_group() as group:
                with anyio.CancelScope() as scope:
                    group.start_soon(self._rescue, scope)
                    await self._everything(root)
                self.note(root, ("end", scope.cancelled_caught))
                group.cancel_scope.cancel()
        except BaseException as error:
            self.error = error
            self.note(root, ("raised", shape(error)))
        for send, receive in self.streams:
            send.close()
            receive.close()
        return tuple(sorted((name, tuple(track.notes)) for name, track in self._tracks.items()))

    async def _everything(self, root: Track) -> None:
        async with anyio.create_task_group() as self._root:
            await self.body(self._program, root, [])

    async def _rescue(self, scope: CancelScope) -> None:
        """End what waits for ever: kindly first, then by cancelling, behind shields too."""
        for attempt in range(RESCUES):
            await anyio.sleep(END_OF_TIME)
            match attempt:
                case 0:
                    for event in self.events:
                        event.set()
                case 1:
                    for limiter in self.limiters:
                        limiter.total_tokens = COUNT
                case 2:
                    for send, receive in self.streams:
                        send.close()
                        receive.close()
                case _:
                    scope.cancel()
                    for shielded in list(self._scopes.values()):
                        shielded.shield = False
        self.note(self._track("rescue"), "stuck")

    def _track(self, name: str) -> Track:
        return self._tracks.setdefault(name, Track(name))

    def now(self) -> float:
        return anyio.current_time() - self._start

    def note(self, track: Track, what: Any) -> None:
        note = (self.now(), what)
        track.notes.append(note)
        self.log.append((track.name, note))

    async def body(self, body: Numbered, track: Track, groups: list[TaskGroup]) -> None:
        pauses = self.pauses
        for n, op in body:
            for _ in range(pauses.get(n, 0)):
                await cancel_shielded_checkpoint()
            try:
                result = await getattr(self, "op_" + op[0])(n, track, groups, *op[1:])
            except BaseException as error:
                self.note(track, (n, shape(error)))
                raise
            self.note(track, n if result is None else (n, result))
            for _ in range(pauses.get(~n, 0)):
                await cancel_shielded_checkpoint()

    async def task(self, body: Numbered, name: str, groups: list[TaskGroup]) -> str:
        """Be a child."""
        track = self._track(name)
        track.notes.append((self.now(), "began"))
        await self.body(body, track, groups)
        return name

    # -- time

    def _delay(self, n: int, length: int) -> float:
        return float((length << 20) + (2 << n % 18)) if self._fine else 4.0 * length

    def _deadline(self, n: int, length: int) -> float:
        """Return the next odd time after a wait of `length`; 0 is now."""
        if length in (NEVER, PAST):
            return math.inf if length == NEVER else -math.inf
        if length == 0:
            return anyio.current_time()
        after = self.now() + self._delay(n, length)
        return self._start + after + (1.0 if after % 2 == 0 else 0.0)

    async def op_sleep(self, n: int, track: Track, groups: Any, length: int) -> None:
        if length == 0:
            await anyio.sleep(0)  # noqa: ASYNC115 - one of the ways to write it
            return
        after = self.now() + self._delay(n, length)
        after += after % 2
        if n % 2:
            await anyio.sleep(after - self.now())
        else:
            await anyio.sleep_until(self._start + after)

    async def op_forever(self, n: int, track: Track, groups: Any) -> None:
        await anyio.sleep_forever()

    async def op_checkpoint(self, n: int, track: Track, groups: Any) -> None:
        await checkpoint()

    async def op_if_cancelled(self, n: int, track: Track, groups: Any) -> None:
        await checkpoint_if_cancelled()

    async def op_shielded(self, n: int, track: Track, groups: Any) -> None:
        await cancel_shielded_checkpoint()

    async def op_idle(self, n: int, track: Track, groups: Any) -> None:
        await anyio.wait_all_tasks_blocked()

    # -- scopes

    def _scope(self, n: int) -> CancelScope:
        """Return the scope of operation `n`: it may be cancelled, shielded or given a deadline before it is entered."""
        return self._scopes.setdefault(n, CancelScope())

    def _target(self, index: int) -> CancelScope:
        return self._scope(self._scope_numbers[index % len(self._scope_numbers)])

    async def op_cancel(self, n: int, track: Track, groups: Any, index: int) -> None:
        self._target(index).cancel()

    async def op_shield(self, n: int, track: Track, groups: Any, index: int, value: bool) -> None:
        self._target(index).shield = value

    async def op_deadline(self, n: int, track: Track, groups: Any, index: int, length: int) -> None:
        self._target(index).deadline = self._deadline(n, length)

    async def op_look(self, n: int, track: Track, groups: Any, index: int) -> Any:
        scope = self._target(index)
        effective = anyio.current_effective_deadline()
        return scope.cancel_called, scope.cancelled_caught, scope.shield, scope.deadline - self._start, effective - self._start

    async def op_scope(self, n: int, track: Track, groups: Any, length: int, shield: bool, body: Numbered) -> Any:
        scope = self._scope(n)
        if length != NEVER:
            scope.deadline = self._deadline(n, length)
        if shield:
            scope.shield = True
        with scope:
            await self.body(body, track, groups)
        return scope.cancel_called, scope.cancelled_caught, anyio.current_effective_deadline() - self._start

    async def op_fail_after(self, n: int, track: Track, groups: Any, length: int, body: Numbered) -> None:
        delay = max(self._deadline(n, length) - anyio.current_time(), 0.0)
        with anyio.fail_after(delay) as scope:
            self._scopes[n] = scope
            await self.body(body, track, groups)

    # -- tasks

    async def op_group(self, n: int, track: Track, groups: list[TaskGroup], body: Numbered, children: list[Numbered]) -> None:
        async with anyio.create_task_group() as group:
            self._scopes[n], self._groups[n] = group.cancel_scope, group
            for index, child in enumerate(children):
                group.start_soon(self.task, child, f"{track.name}/{n}.{index}", [*groups, group])
            await self.body(body, track, [*groups, group])

    async def op_start(self, n: int, track: Track, groups: Any, outer: bool, before: Numbered, starts: bool, after: Numbered) -> Any:
        child = self._track(f"{track.name}/{n}s")

        async def starting(*, task_status: TaskStatus[int]) -> None:
            await self.body(before, child, groups)
            if starts:
                task_status.started(n)
            self.note(child, "began")
            await self.body(after, child, groups)

        if outer and groups:
            return await groups[n % len(groups)].start(starting)
        async with anyio.create_task_group() as group:
            self._scopes[n] = group.cancel_scope
            handle = self._handles[n] = await group.start(starting, return_handle=True)
            self.note(track, ("started", handle.start_value))
        return None

    async def op_spawn(self, n: int, track: Track, groups: list[TaskGroup], index: int, handle: bool, body: Numbered) -> None:
        known = [*groups, *self._groups.values()] or [self._root]
        group, name = known[index % len(known)], f"{track.name}/{n}t"
        made: list[Coroutine[Any, Any, str]] = []

        def begin() -> Coroutine[Any, Any, str]:
            made.append(self.task(body, name, groups))
            return made[0]

        try:
            if handle:
                self._handles[n] = group.create_task(begin())
            else:
                group.start_soon(begin)
        except RuntimeError:  # the group has ended; AnyIO's Trio backend then forgets to close the coroutine
            for coro in made:
                coro.close()
            raise

    async def op_join(self, n: int, track: Track, groups: Any, index: int) -> Any:
        handle = self._handles.get(self._task_numbers[index % len(self._task_numbers)])
        if handle is None:
            return "nobody"
        if n % 2:
            return await handle
        await handle.wait()
        return handle.status.name

    async def op_cancel_task(self, n: int, track: Track, groups: Any, index: int) -> Any:
        handle = self._handles.get(self._task_numbers[index % len(self._task_numbers)])
        if handle is None:
            return "nobody"
        handle.cancel()
        return handle.status.name

    async def op_set_variable(self, n: int, track: Track, groups: Any) -> None:
        VARIABLE.set(n)

    async def op_get_variable(self, n: int, track: Track, groups: Any) -> Any:
        return "variable", VARIABLE.get(None)

    # -- errors

    async def op_raise(self, n: int, track: Track, groups: Any) -> None:
        raise Boom(n)

    async def op_raise_group(self, n: int, track: Track, groups: Any, nested: bool) -> None:
        inner: Exception = ExceptionGroup("inner", [Boom(n), Bang(n)]) if nested else Bang(n)
        raise ExceptionGroup("outer", [inner, Boom(n)])

    async def op_finally(self, n: int, track: Track, groups: Any, body: Numbered, shield: bool, cleanup: Numbered) -> None:
        try:
            await self.body(body, track, groups)
        finally:
            scope = self._scope(n)
            if shield:
                scope.shield = True
            with scope:
                await self.body(cleanup, track, groups)

    async def op_catch(self, n: int, track: Track, groups: Any, body: Numbered) -> Any:
        try:
            await self.body(body, track, groups)
        except Exception as error:
            return "caught", shape(error)

    async def op_catch_some(self, n: int, track: Track, groups: Any, body: Numbered) -> Any:
        caught = None
        try:
            await self.body(body, track, groups)
        except* (Boom, TimeoutError) as error:
            caught = "caught", shape(error)
        return caught

    async def op_swallow(self, n: int, track: Track, groups: Any, body: Numbered) -> Any:
        try:
            await self.body(body, track, groups)
        except (Exception, BaseExceptionGroup, anyio.get_cancelled_exc_class()) as error:
            return "swallowed", shape(error)

    # -- synchronization

    async def op_wait(self, n: int, track: Track, groups: Any, index: int) -> None:
        await self.events[index].wait()

    async def op_set(self, n: int, track: Track, groups: Any, index: int) -> None:
        self.events[index].set()

    async def op_lock(self, n: int, track: Track, groups: Any, index: int, body: Numbered) -> None:
        async with self.locks[index]:
            self.note(track, "locked")
            await self.body(body, track, groups)

    async def op_try_lock(self, n: int, track: Track, groups: Any, index: int) -> Any:
        try:
            self.locks[index].acquire_nowait()
        except anyio.WouldBlock:
            return "held", self.locks[index].locked()
        self.locks[index].release()
        return "free"

    async def op_leak_lock(self, n: int, track: Track, groups: Any, index: int) -> None:
        await self.locks[index].acquire()

    async def op_limit(self, n: int, track: Track, groups: Any, index: int, body: Numbered) -> None:
        async with self.limiters[index]:
            self.note(track, ("borrowed", self.limiters[index].borrowed_tokens))
            await self.body(body, track, groups)

    async def op_total_tokens(self, n: int, track: Track, groups: Any, index: int, tokens: int) -> Any:
        self.limiters[index].total_tokens = tokens
        return "tokens", self.limiters[index].borrowed_tokens

    async def op_semaphore(self, n: int, track: Track, groups: Any, body: Numbered) -> None:
        async with self.semaphore:
            self.note(track, ("acquired", self.semaphore.value))
            await self.body(body, track, groups)

    async def op_release_semaphore(self, n: int, track: Track, groups: Any) -> None:
        self.semaphore.release()

    async def op_condition(self, n: int, track: Track, groups: Any, index: int, body: Numbered) -> None:
        async with self.conditions[index]:
            await self.body(body, track, groups)

    async def op_wait_condition(self, n: int, track: Track, groups: Any, index: int) -> None:
        async with self.conditions[index]:
            await self.conditions[index].wait()

    async def op_notify(self, n: int, track: Track, groups: Any, index: int, everybody: bool) -> None:
        async with self.conditions[index]:
            if everybody:
                self.conditions[index].notify_all()
            else:
                self.conditions[index].notify()

    # -- streams

    async def op_send(self, n: int, track: Track, groups: Any, index: int) -> None:
        await self.streams[index][0].send(n)

    async def op_receive(self, n: int, track: Track, groups: Any, index: int) -> Any:
        return "received", await self.streams[index][1].receive()

    async def op_send_nowait(self, n: int, track: Track, groups: Any, index: int) -> Any:
        try:
            self.streams[index][0].send_nowait(n)
        except anyio.WouldBlock:
            return "full"

    async def op_receive_nowait(self, n: int, track: Track, groups: Any, index: int) -> Any:
        try:
            return "received", self.streams[index][1].receive_nowait()
        except anyio.WouldBlock:
            return "empty"

    async def op_close(self, n: int, track: Track, groups: Any, index: int, sender: bool) -> None:
        self.streams[index][0 if sender else 1].close()
