"""The activities and values of the contract tests' workflows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any
from uuid import UUID

import anyio

from durable_anyio import RetryPolicy, activity
from durable_anyio.exceptions import ApplicationError

from .activity_scenarios import CONTRACT_ACTIVITIES


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Order:
    id: UUID
    colour: Colour
    items: dict[str, int]
    raw: bytes


QUICK = timedelta(seconds=10)


@activity.defn(start_to_close_timeout=QUICK)
async def double(number: int) -> int:
    return number * 2


@activity.defn(start_to_close_timeout=QUICK)
def double_in_thread(number: int) -> int:
    return number * 2


@activity.defn(start_to_close_timeout=QUICK, retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=10)))
async def fail_twice(word: str) -> str:
    if activity.info().attempt < 3:
        raise ApplicationError(f"{word} failed", type="Flaky")
    return f"{word} on attempt {activity.info().attempt}"


@activity.defn(start_to_close_timeout=QUICK)
async def fail_for_good(word: str) -> str:
    raise ApplicationError(f"{word} failed", "a detail", type="Broken", non_retryable=True)


@activity.defn(start_to_close_timeout=QUICK, heartbeat_timeout=timedelta(seconds=1))
async def heartbeat_until_cancelled() -> str:
    while True:
        activity.heartbeat("alive")
        await anyio.sleep(0.02)


@activity.defn(start_to_close_timeout=QUICK)
async def echo_order(order: Order) -> Order:
    return order


@activity.defn(start_to_close_timeout=QUICK)
async def tell_priority() -> list[Any]:
    priority = activity.info().priority
    return [priority.priority_key, priority.fairness_key, priority.fairness_weight]


ACTIVITIES: list[Callable[..., Any]] = [
    double,
    double_in_thread,
    fail_twice,
    fail_for_good,
    heartbeat_until_cancelled,
    echo_order,
    tell_priority,
    *CONTRACT_ACTIVITIES,
]
