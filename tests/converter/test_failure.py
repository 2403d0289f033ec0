"""Exceptions survive the way through Failure messages, groups and causes included."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
import trio

from durable_anyio._backend import Cancelled
from durable_anyio._bridge import proto
from durable_anyio._failure import MAX_DEPTH, MAX_GROUP_SIZE_BYTES, exception_from_failure, failure_from_exception
from durable_anyio.converter import default
from durable_anyio.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    ChildWorkflowError,
    DataConversionError,
    FailureError,
    RetryState,
    ServerError,
    TerminatedError,
    TimeoutError,
    TimeoutType,
)

Failure = proto.message("temporal.api.failure.v1.Failure")


def encode(error: BaseException) -> Any:
    return Failure.FromString(failure_from_exception(error, default()).SerializeToString())


def travel(error: BaseException) -> Exception:
    return exception_from_failure(encode(error), default())


FAILURES: list[FailureError] = [
    ApplicationError("a", 1, {"b": [None]}, type="T", non_retryable=True, next_retry_delay=timedelta(seconds=1.5)),
    ApplicationError("plain"),
    ActivityError(
        "act", scheduled_event_id=5, started_event_id=6, identity="i", activity_type="t", activity_id="7",
        retry_state=RetryState.MAXIMUM_ATTEMPTS_REACHED,
    ),
    ChildWorkflowError("child", namespace="n", workflow_id="w", run_id="r", workflow_type="t", initiated_event_id=1, started_event_id=2),
    TimeoutError("late", type=TimeoutType.HEARTBEAT, last_heartbeat_details=[1, "two"]),
    CancelledError("stop", "why"),
    TerminatedError("end"),
    ServerError("broken", non_retryable=True),
]  # fmt: skip


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_each_kind_comes_back_with_its_attributes(error: FailureError) -> None:
    back = travel(error)
    assert type(back) is type(error)
    assert isinstance(back, FailureError)
    assert back.message == error.message

    def public(one: FailureError) -> dict[str, Any]:
        return {k: list(v) if isinstance(v, tuple) else v for k, v in vars(one).items() if k not in ("_failure", "type")}

    assert public(back) == public(error)
    assert encode(back) == encode(travel(back)), "passing a failure on does not change it"


def test_an_ordinary_exception_becomes_an_application_error_with_its_causes() -> None:
    def fail() -> None:
        try:
            raise KeyError("key")
        except KeyError as error:
            raise ValueError("bad value") from error

    with pytest.raises(ValueError, match="bad value") as caught:
        fail()
    back = travel(caught.value)
    assert isinstance(back, ApplicationError)
    assert (back.type, back.message, back.non_retryable) == ("ValueError", "bad value", False)
    assert "in fail" in back.stack_trace
    assert isinstance(back.cause, ApplicationError)
    assert back.cause.type == "KeyError"
    assert encode(caught.value).source == "durable-anyio"


def test_an_implicit_cause_counts_unless_it_is_suppressed() -> None:
    for suppress in (False, True):
        error = ValueError("late")
        error.__context__ = KeyError("first")
        error.__suppress_context__ = suppress
        assert isinstance(travel(error).__cause__, ApplicationError) is not suppress


def group() -> ExceptionGroup[Exception]:
    inner = ExceptionGroup("inner", [ApplicationError("deep", 1, type="D"), CancelledError("c")])
    outer = ValueError("v")
    outer.__cause__ = KeyError("k")
    return ExceptionGroup("outer", [outer, inner, OSError(2, "missing")])


def test_a_group_comes_back_as_a_group() -> None:
    back = travel(travel(group()))
    assert isinstance(back, ExceptionGroup)
    assert back.message == "outer"
    first, inner, last = back.exceptions
    assert isinstance(first, ApplicationError)
    assert first.type == "ValueError"
    assert isinstance(first.cause, ApplicationError)
    assert first.cause.type == "KeyError"
    assert isinstance(inner, ExceptionGroup)
    assert inner.message == "inner"
    deep, cancelled = inner.exceptions
    assert isinstance(deep, ApplicationError)
    assert (deep.type, list(deep.details)) == ("D", [1])
    assert isinstance(cancelled, CancelledError)
    assert isinstance(last, ApplicationError)
    assert last.type == "FileNotFoundError"


def test_those_who_know_no_groups_see_the_first_member_as_the_cause() -> None:
    failure = encode(group())
    assert failure.application_failure_info.type == "ExceptionGroup"
    assert failure.message == "outer"
    assert failure.cause.message == "v"
    assert failure.cause.application_failure_info.type == "ValueError"
    payloads = failure.application_failure_info.details.payloads
    assert {payload.metadata["messageType"] for payload in payloads} == {b"temporal.api.failure.v1.Failure"}


def test_a_cause_that_is_a_group_and_a_group_below_a_failure() -> None:
    error = ActivityError("act", activity_id="1")
    error.__cause__ = group()
    back = travel(error)
    assert isinstance(back, ActivityError)
    assert isinstance(back.cause, ExceptionGroup)
    assert len(back.cause.exceptions) == 3


def test_depth_and_size_are_bounded() -> None:
    nested: Exception = ValueError("core")
    for _ in range(40):
        nested = ExceptionGroup[Exception]("level", [nested, ValueError("beside")])
    assert encode(nested).ByteSize() < MAX_GROUP_SIZE_BYTES * 2
    travel(nested)

    chain = ValueError("last")
    for number in range(200):
        above = ValueError(str(number))
        above.__cause__ = chain
        chain = above
    back: BaseException | None = travel(chain)
    length = 0
    while back is not None:
        back, length = back.__cause__, length + 1
    assert length == MAX_DEPTH + 1

    many = travel(ExceptionGroup("many", [ValueError("x" * 5_000) for _ in range(1_000)]))
    assert isinstance(many, ExceptionGroup)
    assert 50 < len(many.exceptions) < 1_000
    assert "errors were left out" in str(many.exceptions[-1])


def test_members_that_cannot_be_read_leave_an_application_error() -> None:
    failure = encode(group())
    failure.application_failure_info.details.payloads[0].data = b"not json"
    back = exception_from_failure(failure, default())
    assert isinstance(back, ApplicationError)
    assert back.type == "ExceptionGroup"
    assert isinstance(back.cause, ApplicationError)


def test_details_that_cannot_be_read_do_not_hide_the_failure() -> None:
    failure = encode(ApplicationError("a", 1, type="T"))
    failure.application_failure_info.details.payloads[0].metadata["encoding"] = b"json/encrypted"
    back = exception_from_failure(failure, default())
    assert isinstance(back, ApplicationError)
    assert back.details[0].data == b"1"


def test_details_that_cannot_be_written_are_refused() -> None:
    with pytest.raises(DataConversionError, match="object"):
        encode(ApplicationError("a", object()))


def test_host_cancellation_is_a_cancellation() -> None:
    assert isinstance(travel(asyncio.CancelledError()), CancelledError)

    async def cancelled() -> Exception | None:
        told = None
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as error:
                told = travel(error)
                raise
        return told

    assert isinstance(trio.run(cancelled), CancelledError)


def test_odd_texts_are_kept_within_bounds() -> None:
    class Silent(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert "cannot be made" in str(travel(Silent()))
    assert "\\udcff" in str(travel(OSError("\udcff")))
    assert len(encode(ValueError("x" * 1_000_000)).message) < 20_000


def test_an_encoding_mistake_is_not_retried() -> None:
    assert encode(DataConversionError("w")).application_failure_info.non_retryable


def test_moved_attributes_are_put_back() -> None:
    failure = encode(ValueError("secret"))
    failure.message = "Encoded failure"
    failure.encoded_attributes.CopyFrom(default().to_payloads([{"message": "secret", "stack_trace": "s"}])[0])
    back = exception_from_failure(failure, default())
    assert isinstance(back, ApplicationError)
    assert (back.message, back.stack_trace) == ("secret", "s")


def test_a_failure_without_kind_and_one_from_a_newer_service() -> None:
    assert type(exception_from_failure(Failure(message="m"), default())) is FailureError
    failure = Failure(message="m")
    failure.activity_failure_info.retry_state = 99
    back = exception_from_failure(failure, default())
    assert isinstance(back, ActivityError)
    assert back.retry_state is None


def test_a_group_keeps_its_own_cause() -> None:
    outer = group()
    outer.__cause__ = LookupError("before")
    back = travel(travel(outer))
    assert isinstance(back, ExceptionGroup)
    assert len(back.exceptions) == 3
    assert isinstance(back.__cause__, ApplicationError)
    assert back.__cause__.type == "LookupError"


def test_a_cancellation_of_a_scope_is_a_cancellation() -> None:
    back = travel(BaseExceptionGroup("both", [Cancelled("deadline"), ValueError("v")]))
    assert isinstance(back, ExceptionGroup)
    assert [type(member) for member in back.exceptions] == [CancelledError, ApplicationError]
