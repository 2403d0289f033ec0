"""What runs while everything is killed: activities whose effects are files, so that it shows what ran, and how often."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import anyio

from durable_anyio import RetryPolicy, activity, workflow

#: Where the effects are written; set by the worker's process.
directory = Path()

RETRY = RetryPolicy(initial_interval=timedelta(milliseconds=100), maximum_interval=timedelta(seconds=1))


@activity.defn(start_to_close_timeout=timedelta(seconds=3), retry_policy=RETRY)
async def work(key: str) -> int:
    """Leaves one effect however often it runs, and a line for each attempt."""
    with (directory / "attempts").open("a") as attempts:
        attempts.write(f"{key} {activity.info().attempt}\n")
    print(key, flush=True)
    await anyio.sleep(0.01)  # the process may be killed between the attempt and its effect
    (directory / "effects" / key).touch()
    return value(key)


def value(key: str) -> int:
    return sum(key.encode())


@workflow.defn
class Part:
    @workflow.run
    async def run(self, key: str) -> int:
        return await work(key)


@workflow.defn
class Order:
    """Activities in sequence and side by side, a local one, a timer, a child, a signal that must come exactly once."""

    def __init__(self) -> None:
        self.words: list[str] = []

    @workflow.run
    async def run(self, number: int) -> list[str]:
        total = [await work(f"{number}-first")]

        async def one(name: str) -> None:
            total.append(await work(f"{number}-{name}"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one, "left")
            tasks.start_soon(one, "right")
        await anyio.sleep(0.2)
        total.append(await workflow.step(value, f"{number}-local"))
        await workflow.wait_condition(lambda: bool(self.words))
        if number % 5 == 0:
            child = f"{workflow.info().workflow_id}/part"
            total.append(await workflow.execute_child_workflow(Part.run, f"{number}-part", id=child, task_timeout=TASK_TIMEOUT))
        return [str(sum(total)), *self.words]

    @workflow.signal
    def say(self, word: str) -> None:
        self.words.append(word)


TASK_TIMEOUT = timedelta(seconds=2)


def keys(number: int) -> list[str]:
    """The effects that workflow `number` leaves."""
    names = ["first", "left", "right", *(["part"] if number % 5 == 0 else [])]
    return [f"{number}-{name}" for name in names]


def result(number: int) -> list[str]:
    return [str(sum(map(value, [*keys(number), f"{number}-local"]))), "go"]


def effects(path: Path) -> set[str]:
    return set(os.listdir(path / "effects"))
