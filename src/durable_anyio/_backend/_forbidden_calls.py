"""The table of calls that a workflow must not make: C functions, and Python functions by their code.

Whatever ends in one of these is found through it: `uuid.uuid4()` and `secrets.token_hex()` in `os.urandom()`, `pathlib` and `tempfile` in
`open()` and `os.stat()`, thread pools in `_thread.start_new_thread()`. So the table is short where the standard library is deep.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from ._forbidden import IN_ACTIVITY


class Rule(NamedTuple):
    """A forbidden call: how it is named to people, and what to use instead."""

    call: str
    alternative: str


USE_TIME = "use workflow.now() or workflow.time(), which a replay answers alike; anyio.current_time() measures durations"
USE_SLEEP = "use anyio.sleep(), which lasts through restarts and blocks nobody"
USE_RANDOM = "use workflow.random(), whose numbers a replay repeats"
USE_UUID = "use workflow.uuid4(), which a replay repeats"
USE_ENTROPY = "use workflow.random() for what a replay may repeat; a secret is made in an activity"
USE_TASKS = "start tasks in anyio.create_task_group(); a function that needs a thread is an activity (a plain def runs in one)"
USE_ANYIO = "use anyio's own functions, which are durable inside a workflow"
USE_INFO = "it differs from worker to worker: use workflow.info(), or take it as an argument"

_TIME = (
    "time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time", "process_time_ns",
    "thread_time", "thread_time_ns", "clock_gettime", "clock_gettime_ns", "localtime", "ctime",
)  # fmt: skip
_OS_FILES = (
    "open", "stat", "lstat", "statvfs", "listdir", "scandir", "mkdir", "rmdir", "remove", "unlink", "rename", "replace", "link", "symlink",
    "readlink", "chmod", "chown", "lchown", "utime", "truncate", "access", "chdir", "mkfifo", "mknod", "pipe", "pipe2", "read", "write",
    "pread", "pwrite", "sendfile", "fsync",
)  # fmt: skip
_OS_PROCESSES = (
    "fork", "forkpty", "system", "posix_spawn", "posix_spawnp", "execv", "execve", "kill", "killpg", "wait", "waitpid", "wait3", "wait4",
    "waitid", "_exit", "abort",
)  # fmt: skip
_OS_HOST = ("getpid", "getppid", "getcwd", "getlogin", "getloadavg", "cpu_count", "uname", "times")
_SOCKET = ("getaddrinfo", "getnameinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr", "gethostname", "socketpair")
_RANDOM = ("random", "getrandbits", "seed", "setstate")
_SIGNAL = ("signal", "alarm", "setitimer", "raise_signal", "pthread_kill", "sigwait", "pause")

_ANYIO_FOR = {
    "sleep": "use anyio.sleep()",
    "sleep_until": "use anyio.sleep_until()",
    "sleep_forever": "use anyio.sleep_forever()",
    "gather": "use anyio.create_task_group()",
    "create_task": "use anyio.create_task_group()",
    "ensure_future": "use anyio.create_task_group()",
    "wait": "use anyio.create_task_group()",
    "as_completed": "use anyio.create_task_group() and a memory object stream",
    "TaskGroup": "use anyio.create_task_group()",
    "open_nursery": "use anyio.create_task_group()",
    "wait_for": "use anyio.fail_after()",
    "timeout": "use anyio.fail_after() or anyio.move_on_after()",
    "timeout_at": "use anyio.fail_after() or anyio.move_on_after()",
    "fail_after": "use anyio.fail_after()",
    "fail_at": "use anyio.fail_after()",
    "move_on_after": "use anyio.move_on_after()",
    "move_on_at": "use anyio.move_on_after()",
    "CancelScope": "use anyio.CancelScope()",
    "shield": "use anyio.CancelScope(shield=True)",
    "Event": "use anyio.Event()",
    "Lock": "use anyio.Lock()",
    "StrictFIFOLock": "use anyio.Lock()",
    "Semaphore": "use anyio.Semaphore()",
    "BoundedSemaphore": "use anyio.Semaphore()",
    "Condition": "use anyio.Condition()",
    "CapacityLimiter": "use anyio.CapacityLimiter()",
    "Queue": "use anyio.create_memory_object_stream()",
    "LifoQueue": "use anyio.create_memory_object_stream()",
    "PriorityQueue": "use anyio.create_memory_object_stream()",
    "open_memory_channel": "use anyio.create_memory_object_stream()",
    "current_time": "use anyio.current_time()",
    "to_thread": "make the function an activity (a plain def runs in a thread)",
    "run": "call the coroutine with await",
}
# They ask about an object and touch no loop.
_HARMLESS = {"iscoroutine", "iscoroutinefunction", "isfuture"}

CLOCK_METHODS = frozenset({"now", "utcnow", "today"})
"""Class methods of `datetime` and `date`. Each subclass has its own bound ones, so a table of functions cannot list them."""

# Modules that the table looks into only if the program has imported them.
OPTIONAL_MODULES = ("asyncio", "multiprocessing.process", "queue", "secrets", "sqlite3", "ssl", "subprocess", "trio", "uuid")


def c_functions() -> dict[Any, Rule]:
    """The forbidden functions written in C. Bound ones compare equal when they are bound to the same object."""
    table: dict[Any, Rule] = {}

    def add(module: str, names: Iterable[str], alternative: str, shown: str | None = None) -> None:
        found = sys.modules.get(module)
        for name in names:
            function = getattr(found, name, None)
            if isinstance(function, types.BuiltinFunctionType):
                table[function] = Rule(f"{shown or module}.{name}".removeprefix("builtins."), alternative)

    for module in ("time", "random", "os", "io", "_thread", "_socket", "_signal", "builtins"):
        __import__(module)
    add("time", _TIME, USE_TIME)
    add("time", ["sleep"], USE_SLEEP)
    shared = sys.modules["random"]._inst
    for name in _RANDOM:
        # The method in C below the one in Python: numbers come, and seeds go, through it.
        table[getattr(super(type(shared), shared), name)] = Rule(f"random.{name}", USE_RANDOM)
    add("os", ["urandom", "getrandom"], USE_ENTROPY)
    add("os", _OS_FILES, IN_ACTIVITY)
    add("os", _OS_PROCESSES, IN_ACTIVITY)
    add("os", ["putenv", "unsetenv"], "keep the workflow's state in its own attributes")
    add("os", _OS_HOST, USE_INFO)
    add("io", ["open_code"], IN_ACTIVITY)
    add("builtins", ["open"], IN_ACTIVITY)
    add("builtins", ["input"], "wait for a signal or an update")
    add("_thread", ["start_new_thread", "start_new", "start_joinable_thread"], USE_TASKS, "threading")
    add("_socket", _SOCKET, IN_ACTIVITY, "socket")
    add("_signal", _SIGNAL, "a workflow receives workflow signals (workflow.signal), not the process's", "signal")
    add("_posixsubprocess", ["fork_exec"], IN_ACTIVITY, "subprocess")
    add("uuid", ["_generate_time_safe"], USE_UUID)
    add("sqlite3", ["connect"], IN_ACTIVITY)
    add("asyncio", ["get_running_loop", "get_event_loop", "current_task"], USE_ANYIO)
    return table


def python_functions() -> dict[int, tuple[types.CodeType, Rule]]:
    """The forbidden functions written in Python, by the identity of their code, which the table keeps alive."""
    table: dict[int, tuple[types.CodeType, Rule]] = {}

    def add(path: str, alternative: str, shown: str | None = None) -> None:
        module, _, names = path.partition(":")
        found: Any = sys.modules.get(module)
        for name in names.split("."):
            found = getattr(found, name, None)
        code = getattr(found, "__code__", None)
        if code is not None:
            table[id(code)] = (code, Rule(shown or f"{module}.{names.removesuffix('.__init__')}", alternative))

    for module in ("socket", "threading"):
        __import__(module)
    add("socket:socket.__init__", IN_ACTIVITY)
    add("socket:create_connection", IN_ACTIVITY)
    add("socket:create_server", IN_ACTIVITY)
    add("ssl:SSLContext.wrap_socket", IN_ACTIVITY)
    add("ssl:SSLContext.wrap_bio", IN_ACTIVITY)
    add("ssl:create_default_context", IN_ACTIVITY)
    add("subprocess:Popen.__init__", IN_ACTIVITY)
    add("multiprocessing.process:BaseProcess.start", IN_ACTIVITY, "multiprocessing.Process.start")
    for method in ("Thread.start", "Thread.join"):
        add(f"threading:{method}", USE_TASKS)
    for method in ("Condition.wait", "Event.wait", "Barrier.wait"):
        add(f"threading:{method}", "it would block the whole worker: use anyio.Event() or anyio.Condition()")
    for method in ("get", "put", "join"):
        add(f"queue:Queue.{method}", "it may block the whole worker: use anyio.create_memory_object_stream()")
    for name in ("uuid1", "uuid4", "uuid6", "uuid7", "uuid8"):
        add(f"uuid:{name}", USE_UUID)
    for library in ("asyncio", "trio"):
        for code, name in _loop_functions(library):
            # A subclass that has no constructor of its own does not rename its base's.
            table.setdefault(id(code), (code, Rule(f"{library}.{name}", _ANYIO_FOR.get(name, USE_ANYIO))))
    return table


def _loop_functions(library: str) -> Iterator[tuple[types.CodeType, str]]:
    """The public functions of an event loop's package, and what runs when its public classes are made."""
    module = sys.modules.get(library)
    for name, value in list(vars(module).items()) if module is not None else ():
        if name.startswith("_") or name in _HARMLESS:
            continue
        if isinstance(value, type):
            if issubclass(value, BaseException) or value.__module__.partition(".")[0] != library:
                continue
            value = vars(value).get("__init__")
        elif getattr(value, "__module__", "").partition(".")[0] != library:
            continue
        # A context manager's decorator hides the function that runs when it is called.
        code = getattr(getattr(value, "__wrapped__", value), "__code__", None)
        if isinstance(code, types.CodeType):
            yield code, name
