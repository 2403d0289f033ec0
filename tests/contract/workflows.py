"""The workflows of the contract tests. Their recorded histories are kept, so changing one's commands needs a new name."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import anyio

from durable_anyio import workflow
from durable_anyio.exceptions import ActivityError, ApplicationError

from .activities import (
    QUICK,
    Colour,
    Order,
    double,
    double_in_thread,
    echo_order,
    fail_for_good,
    fail_twice,
    heartbeat_until_cancelled,
)
from .activity_scenarios import CONTRACT_ACTIVITY_WORKFLOWS
from .attribute_workflows import ATTRIBUTE_WORKFLOWS
from .chain_workflows import CHAIN_WORKFLOWS
from .message_workflows import MESSAGE_WORKFLOWS
from .nexus_workflows import NEXUS_WORKFLOWS
from .relations import RELATED_WORKFLOWS
from .reset_workflows import RESET_WORKFLOWS


@workflow.defn
class Nothing:
    @workflow.run
    async def run(self) -> None:
        return None


@workflow.defn
class OneActivity:
    @workflow.run
    async def run(self, number: int) -> int:
        return await workflow.execute_activity(double, number, start_to_close_timeout=QUICK)


@workflow.defn
class ThreadActivity:
    @workflow.run
    async def run(self, number: int) -> int:
        return await double_in_thread(number)


@workflow.defn
class Sequence:
    @workflow.run
    async def run(self, count: int) -> int:
        total = 0
        for number in range(count):
            total += await double(number)
        return total


@workflow.defn
class FanOut:
    @workflow.run
    async def run(self, count: int) -> list[int]:
        results = [0] * count

        async def one(number: int) -> None:
            results[number] = await double(number)

        async with anyio.create_task_group() as tg:
            for number in range(count):
                tg.start_soon(one, number)
        return results


@workflow.defn
class LimitedFanOut:
    @workflow.run
    async def run(self, count: int) -> int:
        limiter = anyio.CapacityLimiter(2)
        done: list[int] = []

        async def one(number: int) -> None:
            async with limiter:
                done.append(await double(number))

        async with anyio.create_task_group() as tg:
            for number in range(count):
                tg.start_soon(one, number)
        return sum(done)


@workflow.defn
class Sleeper:
    @workflow.run
    async def run(self, seconds: float) -> bool:
        before = anyio.current_time()
        await anyio.sleep(seconds)
        return seconds <= anyio.current_time() - before < seconds + 60


@workflow.defn
class TimeoutWins:
    @workflow.run
    async def run(self) -> bool:
        with anyio.move_on_after(0.05) as scope:
            await anyio.sleep(30)
        return scope.cancelled_caught


@workflow.defn
class TimeoutLoses:
    @workflow.run
    async def run(self) -> int:
        with anyio.fail_after(30):
            return await double(21)


@workflow.defn
class FailAfter:
    @workflow.run
    async def run(self) -> str:
        try:
            with anyio.fail_after(0.05):
                await anyio.sleep_forever()
        except TimeoutError:
            return "timed out"
        return "not reached"


@workflow.defn
class CancelActivityByScope:
    @workflow.run
    async def run(self) -> str:
        with anyio.move_on_after(0.1):
            await workflow.execute_activity(heartbeat_until_cancelled, start_to_close_timeout=QUICK, heartbeat_timeout=timedelta(seconds=1))
        return "left"


@workflow.defn
class RetriedActivity:
    @workflow.run
    async def run(self, word: str) -> str:
        return await fail_twice(word)


@workflow.defn
class CaughtFailure:
    @workflow.run
    async def run(self) -> str:
        try:
            await fail_for_good("it")
        except ActivityError as error:
            if not isinstance(error.cause, ApplicationError):
                raise
            return f"{error.cause.type}: {error.cause.message} {error.cause.details}"
        return "not reached"


@workflow.defn
class FailedGroup:
    @workflow.run
    async def run(self) -> None:
        async with anyio.create_task_group() as tg:
            tg.start_soon(fail_for_good, "one")
            tg.start_soon(anyio.sleep, 60)


@workflow.defn
class PlainFailure:
    @workflow.run
    async def run(self) -> None:
        raise ValueError("no good")


@workflow.defn
class Approval:
    def __init__(self) -> None:
        self.approved = anyio.Event()
        self.names: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        await self.approved.wait()
        return self.names

    @workflow.signal
    async def approve(self, name: str) -> None:
        self.names.append(name)
        if len(self.names) == 2:
            self.approved.set()

    @workflow.query
    def so_far(self) -> list[str]:
        return self.names


@workflow.defn
class WaitsForCondition:
    def __init__(self) -> None:
        self.count = 0

    @workflow.run
    async def run(self, wanted: int) -> int:
        await workflow.wait_condition(lambda: self.count >= wanted)
        return self.count

    @workflow.signal
    def add(self, number: int) -> None:
        self.count += number


@workflow.defn
class CleansUp:
    @workflow.run
    async def run(self) -> str:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                self.cleaned = await double(4)
        return "not reached"


@workflow.defn
class SurvivesCancel:
    @workflow.run
    async def run(self) -> str:
        number = 0
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                number = await double(4)
        return f"cleaned {number}"


@workflow.defn
class ContinuesAsNew:
    @workflow.run
    async def run(self, left: int, total: int) -> int:
        total += await double(left)
        if left > 0:
            workflow.continue_as_new(left - 1, total)
        return total


@workflow.defn
class Streams:
    @workflow.run
    async def run(self, count: int) -> list[int]:
        send, receive = anyio.create_memory_object_stream[int](1)
        received: list[int] = []

        async def produce() -> None:
            async with send:
                for number in range(count):
                    await send.send(await double(number))

        async with anyio.create_task_group() as tg:
            tg.start_soon(produce)
            async with receive:
                async for item in receive:
                    received.append(item)
        return received


@workflow.defn
class Locks:
    @workflow.run
    async def run(self) -> list[str]:
        lock, condition, semaphore = anyio.Lock(), anyio.Condition(), anyio.Semaphore(1)
        seen: list[str] = []

        async def worker(name: str, *, task_status: anyio.abc.TaskStatus[str]) -> None:
            task_status.started(name)
            async with lock:
                seen.append(f"{name} locked")
                await anyio.sleep(0.01)
            async with semaphore:
                seen.append(f"{name} passed")
            async with condition:
                condition.notify_all()

        async with anyio.create_task_group() as tg:
            for name in ("a", "b"):
                seen.append(await tg.start(worker, name))
            async with condition:
                await condition.wait()
                seen.append("notified")
        return seen


@workflow.defn
class Deterministic:
    @workflow.run
    async def run(self) -> bool:
        first = (workflow.uuid4(), workflow.random().random(), workflow.now())
        await anyio.sleep(0.01)
        return first[2] < workflow.now() and first[0] != workflow.uuid4()


@workflow.defn
class Typed:
    @workflow.run
    async def run(self, order: Order) -> Order:
        result = await workflow.execute_activity(echo_order, order, start_to_close_timeout=QUICK)
        assert (type(result.id), type(result.colour), type(result.raw)) == (UUID, Colour, bytes)
        return result


@workflow.defn
class RaceOfScopes:
    @workflow.run
    async def run(self) -> str:
        winners: list[int] = []

        async with anyio.create_task_group() as tg:

            async def racer(number: int, seconds: float) -> None:
                await anyio.sleep(seconds)
                winners.append(number)
                tg.cancel_scope.cancel()

            tg.start_soon(racer, 1, 20.0)
            tg.start_soon(racer, 2, 0.05)
            tg.start_soon(racer, 3, 30.0)
        return f"winner {winners}"


@workflow.defn
class LocalActivities:
    @workflow.run
    async def run(self, number: int) -> list[str]:
        results = [
            str(await workflow.execute_local_activity(double, number, summary="doubles")),
            str(await workflow.execute_local_activity(double_in_thread, number)),
            await workflow.execute_local_activity(fail_twice, "it"),
            str(await double(number)),
        ]
        try:
            await workflow.execute_local_activity(fail_for_good, "it")
        except ActivityError as error:
            if isinstance(error.cause, ApplicationError):
                results.append(f"{error.cause.type}: {error.cause.message} {error.cause.details}")
        return results


@workflow.defn
class LocalFanOut:
    @workflow.run
    async def run(self, count: int) -> list[int]:
        results = [0] * count

        async def one(number: int) -> None:
            results[number] = await workflow.execute_local_activity(double, number)

        async def another(number: int) -> None:
            results[number] += await workflow.step(abs, -number)

        # All of one before all of another: which call gets which number must not depend on who is faster.
        for call in (one, another):
            async with anyio.create_task_group() as tg:
                for number in range(count):
                    tg.start_soon(call, number)
        return results


@workflow.defn
class LocalRest:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_local_activity(fail_twice, "it", local_retry_threshold=timedelta(milliseconds=1))


@workflow.defn
class LocalDeadline:
    @workflow.run
    async def run(self) -> str:
        wait = workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
        with anyio.move_on_after(0.3):
            await workflow.execute_local_activity(heartbeat_until_cancelled, cancellation_type=wait)
        with anyio.move_on_after(0.3):
            await workflow.execute_local_activity(heartbeat_until_cancelled)
        return "left"


@workflow.defn
class Steps:
    @workflow.run
    async def run(self) -> list[str]:
        async def greet(name: str) -> str:
            return f"hello {name}"

        return [
            await workflow.step(greet, "Ada"),
            await workflow.step(str.upper, "ada", summary="shouts"),
            await workflow.step(lambda: "x"),
        ]


@workflow.defn
class LongStep:
    @workflow.run
    async def run(self, seconds: float) -> str:
        before = workflow.now()
        await workflow.step(anyio.sleep, seconds)
        return "slept" if workflow.now() - before >= timedelta(seconds=seconds) else f"{before} {workflow.now()}"


WORKFLOWS = [
    *MESSAGE_WORKFLOWS, *CHAIN_WORKFLOWS, *RESET_WORKFLOWS, *CONTRACT_ACTIVITY_WORKFLOWS, *ATTRIBUTE_WORKFLOWS,
    Nothing, OneActivity, ThreadActivity, Sequence, FanOut, LimitedFanOut, Sleeper, TimeoutWins, TimeoutLoses, FailAfter,
    CancelActivityByScope, RetriedActivity, CaughtFailure, FailedGroup, PlainFailure, Approval, WaitsForCondition, CleansUp,
    SurvivesCancel, ContinuesAsNew, Streams, Locks, Deterministic, Typed, RaceOfScopes, *RELATED_WORKFLOWS, LocalActivities, LocalFanOut,
    LocalRest, LocalDeadline, Steps, LongStep, *NEXUS_WORKFLOWS,
]  # fmt: skip
