"""One awaited durable operation: an activity, a child workflow, anything the outside world answers.

| mode      | when the waiting scope is cancelled                                                    |
|-----------|----------------------------------------------------------------------------------------|
| `try`     | ask for cancellation once, raise at once; the other side may go on                      |
| `wait`    | ask once, keep waiting for the answer; "cancelled" raises the scope's cancellation, any |
|           | other answer wins and the cancellation stays pending                                   |
| `abandon` | raise at once and tell nobody                                                          |

The answer wins over a cancellation that arrives in the same step. Waiting always lets the others run at least once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from ._task import Cancelled, Task, current_task, park, shielded_checkpoint

if TYPE_CHECKING:
    from ._scheduler import Scheduler

T = TypeVar("T")
Mode = Literal["try", "wait", "abandon"]


class Operation(Generic[T]):
    """The waiting side of one durable operation. Any number of tasks may wait for it, before and after it is resolved."""

    __slots__ = (
        "__weakref__",
        "_answers_cancellation",
        "_error",
        "_mode",
        "_on_cancel",
        "_scheduler",
        "_value",
        "_waiters",
        "cancel_requested",
        "done",
        "name",
    )

    _value: T

    def __init__(self, scheduler: Scheduler, *, name: str, on_cancel: Callable[[], None] | None = None, mode: Mode = "try") -> None:
        self.name = name
        self.done = False
        self.cancel_requested = False
        self._scheduler = scheduler
        self._on_cancel = on_cancel
        self._mode = mode
        self._answers_cancellation = False
        self._error: BaseException | None = None
        self._waiters: dict[Task, None] = {}

    def set_result(self, value: T) -> None:
        """Resolve the operation. The first resolution counts."""
        if self.done:
            return
        self._value = value
        self._resolve()

    def set_error(self, error: BaseException, *, cancelled: bool = False) -> None:
        """Resolve the operation with an error.

        :param cancelled: the error says that the operation was cancelled. A waiter whose own scope asked for that then gets its scope's
            cancellation instead of the error.
        """
        if self.done:
            return
        self._error = error
        self._answers_cancellation = cancelled or isinstance(error, Cancelled)
        self._scheduler.note_failed_operation(self)
        self._resolve()

    def release(self) -> None:
        """Drop what may hold the operation itself: its error, through the frames in the traceback, and what asks for cancellation."""
        self._error = self._on_cancel = None

    def request_cancel(self) -> None:
        """Ask the other side to cancel, at most once, and not after it has answered."""
        if self.done or self.cancel_requested or self._scheduler.closing:
            return
        self.cancel_requested = True
        if self._on_cancel is not None:
            self._on_cancel()

    async def wait(self) -> T:
        """Wait for the answer.

        :raises Cancelled: as the mode says
        :raises BaseException: the error the operation was resolved with
        """
        task = current_task()
        if self.done:
            await shielded_checkpoint()
        else:
            self._waiters[task] = None
            try:
                await park(self._abort)
            finally:
                self._waiters.pop(task, None)
        if self._error is None:
            return self._value
        if self._answers_cancellation and self.cancel_requested and task.cancel_pending:
            raise task.cancelled_error() from self._error
        raise self._error

    def _abort(self, task: Task) -> bool:
        if self._mode != "abandon":
            self.request_cancel()
        return self._mode != "wait"

    def _resolve(self) -> None:
        self.done = True
        self._on_cancel = None
        for task in list(self._waiters):
            self._scheduler.reschedule(task)
