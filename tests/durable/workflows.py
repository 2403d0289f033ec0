"""The workflow that runs any program of `programs`, and the activity that does whatever one is told.

Workflow time goes on in real time while somebody works, so that two runs of one program differ by milliseconds. What must not differ is
kept apart from that: waits are so long that work never reorders them, and whatever an activity does to the workflow it does at a time of
its own, after a first attempt that fails and a long pause before the next. Then one instant has one cause, and all runs of a program agree.
"""

from __future__ import annotations

import ast
import json
import math
from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import anyio
from backend.interpreter import Interpreter, shape
from backend.programs import Numbered, walk

from durable_anyio import RetryPolicy, activity, workflow
from durable_anyio.client import Client
from durable_anyio.exceptions import ApplicationError, FailureError, RPCError, WorkflowQueryFailedError
from durable_anyio.workflow import ActivityCancellationType

from .programs import KINDS

SCALE = 16
"""How much longer the waits are than those of programs that need no engine; the shortest differ by this many seconds and more."""

STEP = 100
"""What each operation waits more than the one before, so that no two wait equally long."""

RESCUES = 4

HOLD = timedelta(milliseconds=30)
"""How long an attempt hangs that times out, in real time."""

attempts: dict[str, list[tuple[int, int]]] = defaultdict(list)
"""What activities did, by workflow id: the numbers of the operation and of the attempt. First attempts start side by side, in any order."""

on_attempt: Callable[[], None] = lambda: None  # noqa: E731
"""Called at each attempt."""

clients: list[Client] = []
"""Whose workflows the activities signal."""


@activity.defn
async def work(kind: str, n: int, target: int) -> Any:
    info = activity.info()
    on_attempt()
    if kind == "heartbeats" and info.attempt == 1:
        activity.heartbeat(n)
    if info.attempt == 1:
        raise ApplicationError("not yet")
    attempts[info.workflow_id].append((n, info.attempt))
    match kind:
        case "fails":
            raise ApplicationError(f"{n} failed", n, type="Broken", non_retryable=True)
        case "gives up" | "runs out":
            raise ApplicationError(f"{n} failed again")
        case "times out":
            await anyio.sleep_forever()
        case "heartbeats":
            return list(info.heartbeat_details)
        case "signals" | "stops" if info.attempt == 2:
            handle = clients[-1].get_workflow_handle(info.workflow_id)
            try:
                if kind == "stops":
                    await handle.cancel()
                else:
                    await handle.signal("poke", target)
            except RPCError:
                pass  # it has ended
            raise ApplicationError("signalled")
        case "is stopped":
            await _be_stopped(info.workflow_id, n)
    return n


async def _be_stopped(workflow_id: str, n: int) -> None:
    """Has its workflow told to stop it. Whether that came to a cancel request is known before it waits for one: nothing here is a race."""
    handle = clients[-1].get_workflow_handle(workflow_id)
    try:
        await handle.signal("stop", n)
        await handle.query("__stack_trace")  # is answered when the signal has been handled
        pending = (await handle.describe()).pending_activities
    except (RPCError, WorkflowQueryFailedError):
        return
    own = activity.info().activity_id
    if any(seen.activity_id == own and seen.state == "CANCEL_REQUESTED" for seen in pending):
        while True:
            activity.heartbeat(n)  # the first goes out at once, and its answer cancels this
            await anyio.sleep(0.01)


def error_shape(error: BaseException) -> Any:
    """An exception, with the causes of a failure."""
    if isinstance(error, FailureError):
        cause = None if error.__cause__ is None else error_shape(error.__cause__)
        return (type(error).__name__, str(error.args[0]), cause)
    return shape(error)


class DurableInterpreter(Interpreter):
    """Runs one program once, inside a workflow."""

    def __init__(self, program: Any) -> None:
        super().__init__(program)
        self.pokes = 0
        self._rescuer = anyio.CancelScope(shield=True)

    def _delay(self, n: int, length: int) -> float:
        return SCALE * super()._delay(n, length) + STEP * n

    async def _everything(self, root: Any) -> None:
        try:
            await super()._everything(root)
        finally:
            self._rescuer.cancel()

    async def _rescue(self, scope: anyio.CancelScope) -> None:
        # A program may wait behind a shield while the workflow is cancelled: the rescuer has to be there all the same.
        with self._rescuer:
            await self._rescue_again_and_again(scope)

    async def _rescue_again_and_again(self, scope: anyio.CancelScope) -> None:
        for attempt in range(RESCUES):
            await anyio.sleep(SCALE * float(2**26))
            self.pokes = 1_000_000
            for event in self.events:
                event.set()
            if attempt > 0:
                scope.cancel()
                for shielded in list(self._scopes.values()):
                    shielded.shield = False
        self.note(self._track("rescue"), "stuck")

    async def op_activity(self, n: int, track: Any, groups: Any, kind: int, mode: int) -> Any:
        if KINDS[kind] != "is stopped":
            return await self._work(KINDS[kind], n, mode)
        with self._scope(n):
            return await self._work(KINDS[kind], n, mode % ActivityCancellationType.ABANDON)

    async def op_activity_soon(self, n: int, track: Any, groups: Any, kind: int, mode: int) -> None:
        if not groups:
            return

        async def child() -> None:
            child_track = self._track(f"{track.name}/{n}a")
            await self.body([(n, ("activity", kind, mode))], child_track, groups)

        groups[-1].start_soon(child)

    async def op_signal(self, n: int, track: Any, groups: Any, target: int, mode: int) -> Any:
        return await self._work("signals", n, mode, target)

    async def op_stop(self, n: int, track: Any, groups: Any) -> Any:
        return await self._work("stops", n, 0)

    async def op_started(self, n: int, track: Any, groups: Any, kind: int, mode: int, body: Numbered) -> Any:
        with self._scope(n):
            mode %= ActivityCancellationType.ABANDON
            handle = workflow.start_activity(work, KINDS[kind], n, 0, **self._options(KINDS[kind], n, mode))
            await self.body(body, track, groups)
            if n % 3 == 0:
                handle.cancel()
            return await self._caught(handle)

    async def op_child(self, n: int, track: Any, groups: Any, kind: int, mode: int, length: int) -> Any:
        child = f"{workflow.info().workflow_id}-{n}"
        options: Any = {"id": child, "cancellation_type": workflow.ChildWorkflowCancellationType(mode)}
        return await self._caught(workflow.execute_child_workflow(Errand.run, kind, n, self._delay(n, length), **options))

    async def op_tell(self, n: int, track: Any, groups: Any, index: int) -> Any:
        """Signals a child of the program, which may have ended or not have begun; or cancels it."""
        children = [number for number, op in walk(self._program) if op[0] == "child"] or [n]
        handle = workflow.get_external_workflow_handle(f"{workflow.info().workflow_id}-{children[index % len(children)]}")
        return await self._caught(handle.cancel() if index == 2 else handle.signal("poke"))

    async def op_until(self, n: int, track: Any, groups: Any, index: int) -> None:
        await workflow.wait_condition(lambda: self.pokes > index)

    async def op_random(self, n: int, track: Any, groups: Any) -> Any:
        return workflow.random().random(), workflow.random().getrandbits(50) / 3

    async def _work(self, kind: str, n: int, mode: int, target: int = 0) -> Any:
        return await self._caught(workflow.execute_activity(work, kind, n, target, **self._options(kind, n, mode)))

    async def _caught(self, awaitable: Any) -> Any:
        """Every third failure goes on through the program."""
        try:
            return "result", await awaitable
        except FailureError as error:
            cause = error.__cause__
            if isinstance(cause, ApplicationError) and cause.details and cause.details[0] % 3 == 0:
                raise
            return "failed", error_shape(error)

    def _options(self, kind: str, n: int, mode: int) -> dict[str, Any]:
        pause = timedelta(seconds=self._delay(n, mode) + 0.5)
        most = 2 if kind == "times out" else 4
        options: dict[str, Any] = {
            "start_to_close_timeout": timedelta(days=1),
            "retry_policy": RetryPolicy(initial_interval=pause, backoff_coefficient=1, maximum_interval=pause, maximum_attempts=most),
            "cancellation_type": ActivityCancellationType(mode),
        }
        match kind:
            case "signals" | "stops":
                # What it causes may cancel it, while the attempt that caused it ends: which is first would be chance.
                options["cancellation_type"] = ActivityCancellationType.ABANDON
            case "times out":
                options["start_to_close_timeout"] = HOLD
            case "runs out":
                options["schedule_to_close_timeout"] = pause * 2.5
            case "never starts":
                options["task_queue"] = "nobody"
                options["schedule_to_start_timeout"] = pause
            case "is stopped":
                options["heartbeat_timeout"] = timedelta(minutes=1)
        return options


@workflow.defn
class Errand:
    """A child: waits, then returns, fails, or asks an activity; a signal ends its wait."""

    def __init__(self) -> None:
        self.poked = anyio.Event()

    @workflow.run
    async def run(self, kind: int, n: int, seconds: float) -> int:
        with anyio.move_on_after(seconds):
            await self.poked.wait()
        if kind == 1:
            raise ApplicationError(f"{n} failed", n, type="Broken")
        if kind == 2:
            options: Any = {"start_to_close_timeout": timedelta(days=1)}
            return int(await workflow.execute_activity(work, "succeeds", n, 0, **options))
        return n

    @workflow.signal
    def poke(self) -> None:
        self.poked.set()


@workflow.defn
class Program:
    def __init__(self) -> None:
        self.interpreter: DurableInterpreter | None = None

    @workflow.run
    async def run(self, source: str, raises: bool) -> str:
        interpreter = self.interpreter = DurableInterpreter(ast.literal_eval(source))
        await interpreter.main()
        error = interpreter.error
        if raises and error is not None:
            raise error
        return encoded(interpreter.log)

    @workflow.signal
    async def poke(self, target: int) -> None:
        interpreter = self.interpreter
        assert interpreter is not None
        interpreter.pokes += 1
        track = interpreter._track("signals")
        interpreter.note(track, ("poke", target))
        if target == 0:
            interpreter.events[0].set()
        elif target == 1:
            interpreter._target(interpreter.pokes).cancel()
        else:
            await anyio.sleep(interpreter._delay(interpreter.pokes, 1))
            interpreter.note(track, "slept")

    @workflow.signal
    def stop(self, n: int) -> None:
        assert self.interpreter is not None
        self.interpreter._scope(n).cancel()


def encoded(log: Any) -> str:
    return json.dumps(log, default=repr)


def without_times(text: str) -> Any:
    """A log without what the engine's clock and the run's id decide: every number with a fraction, and every time."""
    return [[name, _masked(what)] for name, (_, what) in json.loads(text)]


def _masked(value: Any) -> Any:
    if isinstance(value, list):
        return [_masked(member) for member in value]
    return "time" if isinstance(value, float) and math.isfinite(value) else value
