"""Decorators, and what they refuse."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import pytest

from durable_anyio import Worker, activity, workflow
from durable_anyio._definitions import activity_definition, check_arguments, query_name, signal_name, workflow_definition


@dataclass
class Order:
    number: int


@workflow.defn(name="checkout")
class Checkout:
    @workflow.run
    async def run(self, order: Order, tags: list[str] | None = None) -> int:
        return order.number

    @workflow.signal
    def approve(self, by: str, *more: int) -> None: ...

    @workflow.query(name="state")
    def status(self) -> str:
        return ""


class Activities:
    @activity.defn
    async def charge(self, order: Order, cents: int) -> str:
        return f"{order.number} {cents}"

    @activity.defn(name="paid-back", start_to_close_timeout=timedelta(seconds=1))
    def refund(self, kind: Literal["all", "part"]) -> float:
        return 1.0


def test_names() -> None:
    assert workflow_definition(Checkout)[0] == workflow_definition(Checkout.run)[0] == "checkout"
    assert workflow_definition("other") == ("other", None)
    assert signal_name(Checkout.approve) == "approve"
    assert query_name(Checkout.status) == "state"
    assert query_name("any") == "any"
    definition = workflow_definition(Checkout)[1]
    assert definition is not None
    assert definition.arg_types == [Order, list[str] | None]
    assert definition.return_type is int


@pytest.mark.parametrize("obj", [Order, Checkout.approve, len, 5])
def test_no_workflow(obj: Any) -> None:
    with pytest.raises(TypeError, match=r"is no workflow\nhint"):
        workflow_definition(obj)


@pytest.mark.parametrize(
    ("target", "args"),
    [
        (Checkout.run, (Order(1),)),
        (Checkout.run, (Order(1), ["a"])),
        (Checkout.run, (Order(1), None)),
        (Checkout.approve, ("me", 1, 2)),
        (Activities.charge, (Order(1), 5)),
        (Activities.refund, ("all",)),
    ],
)
def test_arguments_that_fit(target: Any, args: tuple[Any, ...]) -> None:
    check_arguments(target, args)


@pytest.mark.parametrize(
    ("target", "args", "text"),
    [
        (Checkout.run, (), r"Checkout\.run takes 1 to 2 arguments \(order: 'Order', tags: 'list\[str\] \| None' = None\), got 0"),
        (Checkout.run, ("x",), "the argument 'order' must be Order, got str"),
        (Checkout.run, (Order(1), [1]), "the argument 'tags' must be"),
        (Checkout.run, (Order(1), [], 3), r"got 3 \(Order, list, int\)"),
        (Checkout.approve, ("me", 1, "x"), "#3"),
        (Checkout.status, (1,), "takes 0 arguments, got 1"),
        (Activities.charge, (Order(1), "5"), "the argument 'cents' must be int, got str"),
        (Activities.refund, ("none",), "must be Literal"),
    ],
)
def test_arguments_that_do_not_fit(target: Any, args: tuple[Any, ...], text: str) -> None:
    with pytest.raises(TypeError, match=text):
        check_arguments(target, args)


def test_types_of_the_enclosing_function_resolve() -> None:
    @dataclass
    class Local:
        number: int

    @activity.defn
    async def use(value: Local) -> Local:
        return value

    definition = activity_definition(use)
    assert definition is not None
    assert definition.arg_types == [Local]


def test_refused_classes() -> None:
    with pytest.raises(TypeError, match="has no run method"):

        @workflow.defn
        class NoRun:
            pass

    with pytest.raises(TypeError, match="has 2 run methods"):

        @workflow.defn
        class TwoRuns:
            @workflow.run
            async def one(self) -> None: ...

            @workflow.run
            async def two(self) -> None: ...

    with pytest.raises(TypeError, match="inherits its run method"):

        @workflow.defn
        class Inherits(Checkout):
            pass

    with pytest.raises(TypeError, match="two handlers named 'same'"):

        @workflow.defn
        class TwoSignals:
            @workflow.run
            async def run(self) -> None: ...

            @workflow.signal(name="same")
            def one(self) -> None: ...

            @workflow.signal(name="same")
            def two(self) -> None: ...


def test_refused_methods() -> None:
    with pytest.raises(TypeError, match="`async def`"):

        @workflow.query
        async def waits(self: Any) -> None: ...

    with pytest.raises(TypeError, match="needs an `async def` method"):

        @workflow.run  # type: ignore[type-var]
        def plain(self: Any) -> None: ...

    with pytest.raises(TypeError, match="keyword argument 'key'"):

        @activity.defn
        async def keyword(*, key: int) -> None: ...


async def test_an_activity_outside_a_workflow(anyio_backend: str) -> None:
    acts = Activities()
    with pytest.raises(RuntimeError, match="outside a workflow"):
        await acts.charge(Order(1), 5)
    assert await acts.charge.fn(Order(1), 5) == "1 5"
    with pytest.raises(workflow.NotInWorkflowError):
        workflow.info()


def test_options_of_activities() -> None:
    changed = Activities.refund.with_options(heartbeat_timeout=timedelta(seconds=3))
    assert changed.definition.options.heartbeat_timeout == timedelta(seconds=3)
    assert changed.definition.options.start_to_close_timeout == timedelta(seconds=1)
    assert Activities.refund.definition.options.heartbeat_timeout is None
    assert changed.name == "paid-back"


class FakeClient:
    _core = None
    identity = namespace = ""
    data_converter = None


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "no workflows and no activities"),
        ({"workflows": [Order]}, "is no workflow"),
        ({"workflows": [Checkout, Checkout]}, "two workflows are named 'checkout'"),
        ({"activities": [len]}, "is no activity"),
        ({"activities": [Activities.charge]}, "without its instance"),
        ({"activities": [Activities().charge, Activities().charge]}, "two activities are named 'charge'"),
        ({"workflows": [Checkout], "max_concurrent_activities": 0}, "at least 1"),
        ({"workflows": [Checkout], "max_cached_workflows": -1}, "negative"),
    ],
)
def test_refused_registrations(options: dict[str, Any], text: str) -> None:
    with pytest.raises((TypeError, ValueError), match=text):
        Worker(FakeClient(), task_queue="q", **options)  # type: ignore[arg-type]
