"""The durable scheduler, and the AnyIO backend over it. It knows AnyIO, and nothing of histories and activations.

`_scheduler` runs tasks (`_task`) in steps (`_hosts`); `_scope` and `_taskgroup` are structured concurrency; `_clock` turns sleeps and
deadlines into durable timers; `_operation` waits for the outside world; `_sync` has the primitives; `_forbidden` refuses what a
workflow must not do, `_guard` finds it with the help of the table `_forbidden_calls`, `_audit` and `_shared`; `_closing` ends runs, and
`_stubborn` what does not want to end; `_backend` is AnyIO's view of it all; `_runner` runs it on a virtual clock for tests.
"""

from ._backend import DurableBackend, register
from ._clock import TimerHost
from ._closing import quiet_resource_warnings
from ._forbidden import ForbiddenCallError, forbid, poisoned, refuse_changes
from ._guard import CallGuard, unguarded
from ._hosts import host_refusal
from ._operation import Operation
from ._runner import TestRunner, VirtualRun, VirtualTimers
from ._scheduler import Scheduler, SwitchLimitError, current_scheduler
from ._scope import CancelScope
from ._stubborn import UNCLOSABLE, Stubborn, waiting_stack
from ._task import Cancelled, Task, checkpoint, checkpoint_if_cancelled, current_task, park, shielded_checkpoint

__all__ = [
    "UNCLOSABLE",
    "CallGuard",
    "CancelScope",
    "Cancelled",
    "DurableBackend",
    "ForbiddenCallError",
    "Operation",
    "Scheduler",
    "Stubborn",
    "SwitchLimitError",
    "Task",
    "TestRunner",
    "TimerHost",
    "VirtualRun",
    "VirtualTimers",
    "checkpoint",
    "checkpoint_if_cancelled",
    "current_scheduler",
    "current_task",
    "forbid",
    "host_refusal",
    "park",
    "poisoned",
    "quiet_resource_warnings",
    "refuse_changes",
    "register",
    "shielded_checkpoint",
    "unguarded",
    "waiting_stack",
]
