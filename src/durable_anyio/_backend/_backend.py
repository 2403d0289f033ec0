"""The AnyIO backend named `durable`: AnyIO's interface as a table over the scheduler.

Methods of the interface that touch the world outside the run refuse by name and say what to do instead. All contact with AnyIO's backend
interface is in this package; a test compares the methods below with the abstract ones of the installed AnyIO.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from anyio import TaskInfo
from anyio._core import _eventloop
from anyio.abc import AsyncBackend
from anyio.abc import TaskGroup as AbstractTaskGroup
from anyio.abc import TestRunner as AbstractTestRunner

from ._forbidden import IN_ACTIVITY, forbid
from ._hosts import BACKEND_NAME
from ._scheduler import Scheduler
from ._scope import CancelScope
from ._sync import CapacityLimiter, Event, Lock, Semaphore
from ._task import LOCAL, Cancelled, DurableTaskInfo, Task, checkpoint, checkpoint_if_cancelled, current_task, shielded_checkpoint
from ._taskgroup import TaskGroup

if TYPE_CHECKING:
    from typing import NoReturn

T = TypeVar("T")


def _scheduler() -> Scheduler:
    scheduler = LOCAL.scheduler
    if scheduler is None:
        raise RuntimeError("no workflow step is running on this thread")
    return scheduler


def _forbidden(call: str, alternative: str = IN_ACTIVITY) -> Any:
    """Make a class method that refuses `call`."""

    def refuse(cls: type[AsyncBackend], *args: Any, **kwargs: Any) -> NoReturn:
        forbid(call, alternative)

    return classmethod(refuse)


def _forbidden_async(call: str, alternative: str = IN_ACTIVITY) -> Any:
    """Make an async class method that refuses `call`."""

    async def refuse(cls: type[AsyncBackend], *args: Any, **kwargs: Any) -> NoReturn:
        forbid(call, alternative)

    return classmethod(refuse)


_FROM_THREAD = "threads do not reach into a workflow: send it a signal"


class DurableBackend(AsyncBackend):
    """AnyIO inside a workflow. Never instantiated; the scheduler of the running step is found through the thread."""

    # -- running, for tests: in production the worker drives the scheduler

    @classmethod
    def run(cls, func: Callable[..., Awaitable[T]], args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]) -> T:
        from ._runner import VirtualRun

        return VirtualRun(**options).run(func, args, kwargs)

    @classmethod
    def create_test_runner(cls, options: dict[str, Any]) -> AbstractTestRunner:
        from ._runner import TestRunner

        return TestRunner(**options)

    @classmethod
    def current_token(cls) -> object:
        return _scheduler()

    # -- time and checkpoints

    @classmethod
    def current_time(cls) -> float:
        return _scheduler().clock.now

    # These hand over the awaitable itself: a coroutine around it would cost more than it does.

    @classmethod
    def sleep(cls, delay: float) -> Any:
        return _scheduler().clock.sleep(delay) if delay > 0 else checkpoint()

    @classmethod
    def checkpoint(cls) -> Any:
        return checkpoint()

    @classmethod
    def checkpoint_if_cancelled(cls) -> Any:
        return checkpoint_if_cancelled()

    @classmethod
    def cancel_shielded_checkpoint(cls) -> Any:
        return shielded_checkpoint()

    @classmethod
    async def wait_all_tasks_blocked(cls) -> None:
        await _scheduler().wait_idle()

    # -- cancellation

    @classmethod
    def cancelled_exception_class(cls) -> type[BaseException]:
        return Cancelled

    @classmethod
    def create_cancel_scope(cls, *, deadline: float = math.inf, shield: bool = False) -> CancelScope:
        return CancelScope.__new__(CancelScope, deadline=deadline, shield=shield)

    @classmethod
    def current_effective_deadline(cls) -> float:
        scope = current_task().scope
        return math.inf if scope is None else scope.effective_deadline()

    # -- tasks

    @classmethod
    def create_task_group(cls) -> AbstractTaskGroup:
        return TaskGroup()

    @classmethod
    def get_current_task(cls) -> TaskInfo:
        return DurableTaskInfo(current_task())

    @classmethod
    def get_running_tasks(cls) -> Sequence[TaskInfo]:
        level: list[Task] = [task for task in _scheduler().tasks if task.group is None]
        found: list[TaskInfo] = []
        while level:
            found += [DurableTaskInfo(task) for task in level]
            level = [child for task in level for group in task.child_groups or () for child in group.children]
        return found

    # -- synchronization

    @classmethod
    def create_event(cls) -> Event:
        return Event.__new__(Event)

    @classmethod
    def create_lock(cls, *, fast_acquire: bool) -> Lock:
        return Lock(fast_acquire=fast_acquire)

    @classmethod
    def create_semaphore(cls, initial_value: int, *, max_value: int | None = None, fast_acquire: bool = False) -> Semaphore:
        return Semaphore(initial_value, max_value=max_value, fast_acquire=fast_acquire)

    @classmethod
    def create_capacity_limiter(cls, total_tokens: float) -> CapacityLimiter:
        return CapacityLimiter(total_tokens)

    # -- forbidden: threads

    run_sync_in_worker_thread = _forbidden_async(
        "anyio.to_thread.run_sync()", "make the function an activity (a plain def runs in a thread)"
    )
    current_default_thread_limiter = _forbidden("anyio.to_thread.current_default_thread_limiter()")
    check_cancelled = _forbidden("anyio.from_thread.check_cancelled()", _FROM_THREAD)
    run_async_from_thread = _forbidden("anyio.from_thread.run()", _FROM_THREAD)
    run_sync_from_thread = _forbidden("anyio.from_thread.run_sync()", _FROM_THREAD)
    run_sync_soon = _forbidden("scheduling a callback from a thread", _FROM_THREAD)

    # -- forbidden: processes and signals

    open_process = _forbidden_async("anyio.open_process() or anyio.run_process()")
    setup_process_pool_exit_at_shutdown = _forbidden("anyio.to_process.run_sync()")
    open_signal_receiver = _forbidden(
        "anyio.open_signal_receiver()", "a workflow receives workflow signals (workflow.signal), not the process's"
    )

    # -- forbidden: network

    connect_tcp = _forbidden_async("anyio.connect_tcp()")
    connect_unix = _forbidden_async("anyio.connect_unix()")
    create_tcp_listener = _forbidden("anyio.create_tcp_listener()")
    create_unix_listener = _forbidden("anyio.create_unix_listener()")
    create_udp_socket = _forbidden_async("anyio.create_udp_socket()")
    create_unix_datagram_socket = _forbidden_async("anyio.create_unix_datagram_socket()")
    getaddrinfo = _forbidden_async("anyio.getaddrinfo()")
    getnameinfo = _forbidden_async("anyio.getnameinfo()")
    wait_readable = _forbidden_async("anyio.wait_readable()")
    wait_writable = _forbidden_async("anyio.wait_writable()")
    notify_closing = _forbidden("anyio.notify_closing()")
    wrap_listener_socket = _forbidden_async("wrapping a listening socket")
    wrap_stream_socket = _forbidden_async("wrapping a stream socket")
    wrap_unix_stream_socket = _forbidden_async("wrapping a UNIX stream socket")
    wrap_udp_socket = _forbidden_async("wrapping a UDP socket")
    wrap_connected_udp_socket = _forbidden_async("wrapping a connected UDP socket")
    wrap_unix_datagram_socket = _forbidden_async("wrapping a UNIX datagram socket")
    wrap_connected_unix_datagram_socket = _forbidden_async("wrapping a connected UNIX datagram socket")


def register() -> None:
    """Make AnyIO know the backend. Harmless to repeat."""
    _eventloop.loaded_backends[BACKEND_NAME] = DurableBackend
