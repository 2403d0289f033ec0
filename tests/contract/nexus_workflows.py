"""Workflows that call Nexus operations, and those that serve them. Their histories are kept: changed commands need a new name."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import anyio

from durable_anyio import workflow
from durable_anyio.exceptions import ApplicationError, CancelledError, NexusHandlerError, NexusOperationError, TimeoutError
from durable_anyio.workflow import NexusOperationCancellationType as Type

SECOND = timedelta(seconds=1)
SERVICE = "Numbers"


def client(endpoint: str) -> workflow.NexusClient:
    return workflow.create_nexus_client(service=SERVICE, endpoint=endpoint)


def told(error: NexusOperationError) -> str:
    """What an operation's error says, in one line."""
    assert (error.service, bool(error.endpoint), bool(error.operation)) == (SERVICE, True, True)
    cause = error.cause
    if isinstance(cause, NexusHandlerError):
        return f"{error.operation}: handler {cause.type} {cause.retryable_override}"
    if isinstance(cause, TimeoutError):
        assert cause.type is not None
        return f"{error.operation}: {cause.type.name}"
    if isinstance(cause, ApplicationError):
        return f"{error.operation}: {cause.message}"
    return f"{error.operation}: {'cancelled' if isinstance(cause, CancelledError) else cause}"


@workflow.defn
class CallsOperation:
    """Executes one operation and says what came of it."""

    @workflow.run
    async def run(self, endpoint: str, operation: str, number: int) -> int | str:
        try:
            return await client(endpoint).execute_operation(operation, number, output_type=int, summary="a call", headers={"who": "a test"})
        except NexusOperationError as error:
            return told(error)


@workflow.defn
class StartsOperation:
    """Starts one, whose handle has a token, and waits for it."""

    @workflow.run
    async def run(self, endpoint: str, number: int) -> list[Any]:
        handle = await client(endpoint).start_operation("later", number, output_type=int)
        assert handle.operation_token
        result = await handle
        return [result, await handle, handle.done()]


@workflow.defn
class LimitsOperation:
    """Calls one that nobody ends, or nobody serves, with a timeout."""

    @workflow.run
    async def run(self, endpoint: str, operation: str, timeout: str) -> str:
        try:
            await client(endpoint).execute_operation(operation, 1, **{timeout: SECOND})  # type: ignore[call-overload]
        except NexusOperationError as error:
            return told(error)
        return "ended"


@workflow.defn
class OperationsSideBySide:
    @workflow.run
    async def run(self, endpoint: str, count: int) -> list[int]:
        results = [0] * count

        async def one(number: int) -> None:
            results[number] = await client(endpoint).execute_operation("double", number, output_type=int)

        async with anyio.create_task_group() as tg:
            for number in range(count):
                tg.start_soon(one, number)
        return results


@workflow.defn
class CancelsOperation:
    """Starts an operation, cancels the scope that waits for it, and says what that scope saw."""

    @workflow.run
    async def run(self, endpoint: str, operation: str, cancellation: int) -> list[Any]:
        seen: Any = "nothing"
        with anyio.CancelScope() as scope:
            handle = await client(endpoint).start_operation(operation, 1, cancellation_type=Type(cancellation))
            scope.cancel()
            try:
                seen = await handle
            except NexusOperationError as error:
                seen = told(error)
        return [seen, scope.cancelled_caught]


@workflow.defn
class CancelsByHandle:
    """Asks by the handle, without a cancelled scope: the error comes as it is."""

    @workflow.run
    async def run(self, endpoint: str, cancellation: int) -> str:
        handle = await client(endpoint).start_operation("wait", 1, cancellation_type=Type(cancellation))
        handle.cancel()
        handle.cancel()
        try:
            await handle
        except NexusOperationError as error:
            return told(error)
        return "ended"


@workflow.defn
class CancelsBeforeStart:
    """Cancels an operation that nobody has started: in the same step, before the service knows of it, or later."""

    @workflow.run
    async def run(self, endpoint: str, operation: str, cancellation: int, is_sent: bool, seconds: int = 30) -> list[Any]:
        kind = Type(cancellation)
        seen: list[Any] = []
        scope = anyio.CancelScope()

        async def call() -> None:
            with scope:
                try:
                    limit = timedelta(seconds=seconds)
                    seen.append(
                        await client(endpoint).execute_operation(operation, 1, cancellation_type=kind, schedule_to_close_timeout=limit)
                    )
                except NexusOperationError as error:
                    seen.append(told(error))

        async with anyio.create_task_group() as tg:
            tg.start_soon(call)
            await anyio.lowlevel.checkpoint()
            if is_sent:
                await anyio.sleep(0.1)
            scope.cancel()
        await anyio.sleep(0.1)  # what the history goes on to say of the operation must fit in, too
        return [*seen, scope.cancelled_caught]


@workflow.defn
class Serves:
    """The workflow behind an operation that takes its time: waits for a word, or for its cancellation."""

    def __init__(self) -> None:
        self.words: list[str] = []

    @workflow.run
    async def run(self, answer: Any, waits: bool, survives: bool) -> Any:
        if waits:
            try:
                await workflow.wait_condition(lambda: bool(self.words))
            except anyio.get_cancelled_exc_class():
                if survives:
                    return answer
                raise
        return answer

    @workflow.signal
    def end(self, word: str) -> None:
        self.words.append(word)


NEXUS_WORKFLOWS: list[type] = [
    CallsOperation, StartsOperation, LimitsOperation, OperationsSideBySide, CancelsOperation, CancelsByHandle, CancelsBeforeStart, Serves,
]  # fmt: skip
