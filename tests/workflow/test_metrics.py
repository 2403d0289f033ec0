"""Metrics: kept once, read by anybody, silent in replays."""

from __future__ import annotations

import uuid
from datetime import timedelta

import anyio
import pytest

from durable_anyio import Worker, activity, metrics, workflow
from durable_anyio.testing import ActivityEnvironment, WorkflowEnvironment

pytestmark = pytest.mark.anyio

# The process keeps metrics for ever: each test has names of its own.
PREFIX = f"test_{uuid.uuid4().hex[:8]}"


def read(name: str) -> metrics.Metric:
    return next(metric for metric in metrics.snapshot() if metric.name == name)


@activity.defn(start_to_close_timeout=timedelta(seconds=10))
async def measured(number: int) -> None:
    activity.metric_meter().create_counter(f"{PREFIX}_activities").add(number)


@workflow.defn
class Measures:
    @workflow.run
    async def run(self) -> None:
        counter = workflow.metric_meter().create_counter(f"{PREFIX}_steps", "Steps taken")
        for number in range(3):
            counter.add(1)
            await measured(number)
            await anyio.sleep(1)
        workflow.metric_meter().with_additional_attributes({"end": True}).create_gauge(f"{PREFIX}_ended").set(workflow.time())


@pytest.mark.parametrize("cached", [1000, 0], ids=["cached", "uncached"])
async def test_a_workflow_counts_once_however_often_it_is_replayed(cached: int) -> None:
    queue = f"q-{cached}-{uuid.uuid4().hex[:8]}"
    async with (
        WorkflowEnvironment.time_skipping() as environment,
        Worker(environment.client, task_queue=queue, workflows=[Measures], activities=[measured], max_cached_workflows=cached),
    ):
        await environment.client.execute_workflow(Measures.run, id="w", task_queue=queue)
    (steps,) = [point for point in read(f"{PREFIX}_steps").points if point.attributes["task_queue"] == queue]
    assert (steps.value, dict(steps.attributes)) == (3, {"namespace": "default", "task_queue": queue, "workflow_type": "Measures"})
    (activities,) = [point for point in read(f"{PREFIX}_activities").points if point.attributes["task_queue"] == queue]
    assert (activities.value, activities.attributes["activity_type"]) == (3, "measured")
    (ended,) = [point for point in read(f"{PREFIX}_ended").points if point.attributes["task_queue"] == queue]
    assert ended.attributes["end"] == "True"
    assert ended.value > 1e9


async def test_an_environment_measures_too() -> None:
    def total() -> float:
        found = [metric for metric in metrics.snapshot() if metric.name == f"{PREFIX}_activities"]
        return sum(point.value for metric in found for point in metric.points if point.attributes["task_queue"] == "test")

    before = total()
    await ActivityEnvironment().run(measured, 5)
    assert total() == before + 5


def test_histograms_and_their_text() -> None:
    name = f"{PREFIX}_seconds"
    histogram = metrics.MetricMeter({"path": 'a"b\nc'}).create_histogram(name, "How long\nit took", "s")
    for value in (0.004, 0.005, timedelta(seconds=2), 9999):
        histogram.record(value)
    (point,) = read(name).points
    assert point.value == pytest.approx(10001.009)
    assert (point.count, sum(point.buckets), point.buckets[0], point.buckets[-1]) == (4, 4, 2, 1)
    text = metrics.prometheus_text()
    assert f"# HELP {name} How long\\nit took\n# TYPE {name} histogram\n" in text
    assert f'{name}_bucket{{path="a\\"b\\nc",le="0.005"}} 2\n' in text
    assert f'{name}_bucket{{path="a\\"b\\nc",le="+Inf"}} 4\n' in text
    assert f'{name}_count{{path="a\\"b\\nc"}} 4\n' in text


def test_one_name_is_one_kind() -> None:
    meter = metrics.MetricMeter()
    meter.create_counter(f"{PREFIX}_kind").add(1)
    meter.create_counter(f"{PREFIX}_kind").add(2.5)
    assert read(f"{PREFIX}_kind").points[0].value == 3.5
    with pytest.raises(ValueError, match="is a counter already"):
        meter.create_gauge(f"{PREFIX}_kind")
    with pytest.raises(ValueError, match="only grows"):
        meter.create_counter(f"{PREFIX}_kind").add(-1)
    with pytest.raises(ValueError, match="no name"):
        meter.create_counter("")


def test_many_attributes_do_not_fill_memory() -> None:
    counter = metrics.MetricMeter().create_counter(f"{PREFIX}_many")
    for number in range(metrics.MAX_POINTS + 10):
        counter.add(1, {"id": number})
    points = read(f"{PREFIX}_many").points
    assert len(points) == metrics.MAX_POINTS + 1
    assert next(point.value for point in points if point.attributes == {"overflow": "true"}) == 10
