"""Calls that a workflow must not make, refused by name together with what to do instead."""

from __future__ import annotations

import inspect
from typing import NoReturn

from ._task import LOCAL


class ForbiddenCallError(RuntimeError):
    """A workflow made a call whose effect or answer would differ when the workflow is replayed.

    It suspends the workflow instead of failing it: once the code is fixed the run goes on where it was. Catching it does not help, the
    step stays poisoned.

    `call` names the call and `location` is the "file:line" of the workflow's code that made it, where they are known.
    """

    def __init__(self, message: str, *, call: str | None = None, location: str | None = None) -> None:
        super().__init__(message)
        self.call = call
        self.location = location


def poisoned(error: BaseException) -> BaseException:
    """Remember `error` as the reason why the running step cannot be completed, and return it. The first reason is kept."""
    scheduler = LOCAL.scheduler
    if scheduler is not None and scheduler.poison is None and not scheduler.closing:
        scheduler.poison = error
    return error


def forbid(call: str, alternative: str) -> NoReturn:
    """Refuse `call`.

    :raises ForbiddenCallError: always
    """
    raise poisoned(ForbiddenCallError(f"{call} is not possible inside a workflow: {alternative}"))


def refuse_changes(call: str) -> None:
    """Refuse `call` when the running step may only read (queries and update validators).

    :raises ForbiddenCallError: in a read-only step
    """
    scheduler = LOCAL.scheduler
    if scheduler is not None and scheduler.read_only:
        raise ForbiddenCallError(
            f"{call} is not possible in a query or an update validator: they may read the workflow's state, not change it"
        )


def foreign_trap(value: object, task_name: str) -> ForbiddenCallError:
    """Build the error for a coroutine that yielded something only another event loop understands."""
    if value is None:
        what = "a bare yield (asyncio.sleep(0), or a hand-written awaitable)"
    elif inspect.isawaitable(value) and hasattr(value, "get_loop"):
        what = f"an asyncio future ({type(value).__qualname__})"
    elif type(value).__module__.partition(".")[0] == "trio" or getattr(value, "__module__", "").partition(".")[0] == "trio":
        what = f"a Trio primitive ({getattr(value, '__qualname__', type(value).__qualname__)})"
    else:
        what = f"an object of type {type(value).__module__}.{type(value).__qualname__}"
    return ForbiddenCallError(
        f"task {task_name!r} awaited {what}, which belongs to another event loop: inside a workflow use anyio's own functions, "
        "or move the work into an activity"
    )


IN_ACTIVITY = "do it in an activity, or in workflow.step()"
