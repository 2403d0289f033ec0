"""What is the same for everything that a run asks of the outside and waits for: activities, local activities, child workflows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ._backend import ForbiddenCallError, Scheduler
from ._definitions import ActivityOptions
from ._failure import exception_from_failure
from .converter import PayloadConverter
from .exceptions import DataConversionError

__all__ = ["Waiting", "check_activity", "deliver"]


class Waiting(Protocol):
    """What gets the outcome: an operation, or a handle with several."""

    def set_result(self, value: Any, /) -> None: ...

    def set_error(self, error: BaseException, /, *, cancelled: bool = False) -> None: ...


def deliver(
    waiting: Waiting,
    outcome: Any,
    converter: PayloadConverter,
    result_type: Any | None,
    what: str,
    *,
    decode_failure: Callable[[Any, PayloadConverter], BaseException] = exception_from_failure,
) -> None:
    """Resolves `waiting` with what a message that has `completed`, `failed` and `cancelled` says.

    :raises DataConversionError: the result cannot be decoded; it is delivered to the waiting task as well.
    :raises LookupError: the outcome is of another kind.
    """
    status = outcome.WhichOneof("status")
    if status == "completed":
        try:
            waiting.set_result(_result(outcome.completed, converter, result_type, what))
        except DataConversionError as error:
            waiting.set_error(error)
            raise
    elif status == "failed":
        waiting.set_error(decode_failure(outcome.failed.failure, converter))
    elif status == "cancelled":
        waiting.set_error(decode_failure(outcome.cancelled.failure, converter), cancelled=True)
    else:
        raise LookupError(f"{what} ended as {status!r}, which this release does not know")


def _result(success: Any, converter: PayloadConverter, result_type: Any | None, what: str) -> Any:
    if not success.HasField("result"):
        return None
    try:
        return converter.from_payloads([success.result], [result_type])[0]
    except DataConversionError as error:
        raise error.at(f"the result of {what}") from error


def check_activity(scheduler: Scheduler, kind: str, name: str, options: ActivityOptions) -> None:
    """Refuses what may not start.

    :raises ForbiddenCallError: in a query.
    :raises ValueError: no timeout that bounds an attempt.
    """
    if scheduler.read_only:
        raise ForbiddenCallError(f"the {kind} {name!r} was called in a query\nhint: a query reads the state and changes nothing")
    if options.start_to_close_timeout is None and options.schedule_to_close_timeout is None:
        raise ValueError(
            f"the {kind} {name!r} has no start_to_close_timeout and no schedule_to_close_timeout\n"
            "hint: give one of them, here or in @activity.defn(start_to_close_timeout=…)"
        )
