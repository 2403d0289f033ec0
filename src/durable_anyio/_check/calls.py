"""Which dotted names stand for what a workflow must not do."""

from __future__ import annotations

__all__ = ["alternative_for", "rule_for"]

_PATH_CALLS = "exists isfile isdir islink ismount getsize getmtime getatime getctime lexists realpath samefile expanduser abspath"
_OS_FILES = (
    "open stat lstat statvfs listdir scandir mkdir makedirs rmdir removedirs remove unlink rename renames replace link symlink readlink "
    "chmod chown utime truncate access chdir walk fwalk read write pipe mkfifo sendfile fsync"
)
_OS_PROCESSES = "fork forkpty system popen posix_spawn posix_spawnp kill killpg wait waitpid abort _exit startfile"
_OS_HOST = (
    "environ environb getenv getenvb putenv unsetenv getpid getppid getcwd getlogin getloadavg cpu_count process_cpu_count uname times"
)
_TIME = "time monotonic perf_counter process_time thread_time"
_ANYIO_FILES = (
    "open_file Path wrap_file TemporaryFile NamedTemporaryFile SpooledTemporaryFile TemporaryDirectory mkstemp mkdtemp gettempdir"
)
_ANYIO_NETWORK = (
    "connect_tcp connect_unix create_tcp_listener create_unix_listener create_udp_socket create_connected_udp_socket getaddrinfo "
    "getnameinfo create_unix_datagram_socket create_connected_unix_datagram_socket wait_readable wait_writable"
)


def _names(prefix: str, names: str) -> list[str]:
    return [f"{prefix}.{name}" for name in names.split()]


# Exact names, or, ending in a dot, everything below. The longest match counts; None allows.
_TABLE: dict[str, str | None] = {
    **dict.fromkeys(_names("time", _TIME), "clock"),
    **dict.fromkeys(_names("time", " ".join(f"{name}_ns" for name in _TIME.split())), "clock"),
    **dict.fromkeys(_names("time", "clock_gettime clock_gettime_ns localtime ctime"), "clock"),
    "time.sleep": "sleep",
    **dict.fromkeys(_names("datetime.datetime", "now utcnow today"), "clock"),
    "datetime.date.today": "clock",
    "random.": "random",
    "random.Random": None,
    "uuid.uuid1": "uuid",
    "uuid.uuid4": "uuid",
    "uuid.uuid6": "uuid",
    "uuid.uuid7": "uuid",
    "uuid.getnode": "environment",
    "secrets.": "entropy",
    "secrets.compare_digest": None,
    "os.urandom": "entropy",
    "os.getrandom": "entropy",
    "open": "file",
    "io.open": "file",
    "io.FileIO": "file",
    "io.open_code": "file",
    **dict.fromkeys(_names("os", _OS_FILES), "file"),
    **dict.fromkeys(_names("os.path", _PATH_CALLS), "file"),
    "shutil.": "file",
    "tempfile.": "file",
    "glob.": "file",
    "sqlite3.": "file",
    **dict.fromkeys(_names("anyio", _ANYIO_FILES), "file"),
    **dict.fromkeys(_names("os", _OS_PROCESSES), "process"),
    **dict.fromkeys(["os.exec", "os.spawn", "subprocess.", "multiprocessing.", "anyio.to_process.", "anyio.run_process"], "process"),
    "anyio.open_process": "process",
    **dict.fromkeys(_names("os", _OS_HOST), "environment"),
    "platform.": "environment",
    "socket.gethostname": "environment",
    "socket.getfqdn": "environment",
    "pathlib.Path.cwd": "environment",
    "pathlib.Path.home": "environment",
    **dict.fromkeys(["socket.", "ssl.", "http.client.", "urllib.request.", "smtplib.", "ftplib.", "imaplib.", "poplib."], "network"),
    **dict.fromkeys(
        ["xmlrpc.client.", "requests.", "httpx.", "aiohttp.", "urllib3.", "grpc.", "websockets.", "asyncpg.", "psycopg."], "network"
    ),
    **dict.fromkeys(["boto3.", "redis.", "pymongo.", "sqlalchemy.create_engine"], "network"),
    **dict.fromkeys(_names("anyio", _ANYIO_NETWORK), "network"),
    **dict.fromkeys(["threading.", "_thread.", "concurrent.futures.", "queue.", "anyio.to_thread.", "anyio.from_thread."], "thread"),
    "anyio.to_interpreter.": "thread",
    "queue.Empty": None,
    "queue.Full": None,
    "input": "input",
    **dict.fromkeys(_names("signal", "signal alarm setitimer raise_signal pause sigwait"), "process-signal"),
    "anyio.open_signal_receiver": "process-signal",
    "asyncio.": "host-loop",
    "asyncio.iscoroutine": None,
    "asyncio.iscoroutinefunction": None,
    "trio.": "host-loop",
    "id": "identity",
    "hash": "identity",
}

_ANYIO_FOR = {
    "sleep": "use anyio.sleep()",
    "sleep_forever": "use anyio.sleep_forever()",
    "gather": "use anyio.create_task_group()",
    "create_task": "use anyio.create_task_group()",
    "ensure_future": "use anyio.create_task_group()",
    "TaskGroup": "use anyio.create_task_group()",
    "open_nursery": "use anyio.create_task_group()",
    "wait": "use anyio.create_task_group()",
    "wait_for": "use anyio.fail_after()",
    "timeout": "use anyio.fail_after() or anyio.move_on_after()",
    "fail_after": "use anyio.fail_after()",
    "move_on_after": "use anyio.move_on_after()",
    "CancelScope": "use anyio.CancelScope()",
    "shield": "use anyio.CancelScope(shield=True)",
    "to_thread": "make the function an activity (a plain def runs in a thread)",
    "Event": "use anyio.Event()",
    "Lock": "use anyio.Lock()",
    "Semaphore": "use anyio.Semaphore()",
    "Condition": "use anyio.Condition()",
    "CapacityLimiter": "use anyio.CapacityLimiter()",
    "Queue": "use anyio.create_memory_object_stream()",
    "open_memory_channel": "use anyio.create_memory_object_stream()",
    "CancelledError": "use anyio.get_cancelled_exc_class()",
    "Cancelled": "use anyio.get_cancelled_exc_class()",
    "current_time": "use anyio.current_time()",
}


def rule_for(dotted: str) -> str | None:
    """The rule that forbids a dotted name; None if none does."""
    if dotted in _TABLE:
        return _TABLE[dotted]
    parts = dotted.split(".")
    last = parts[-1]
    for length in range(len(parts) - 1, 0, -1):
        head = ".".join(parts[:length])
        if head in ("os.exec", "os.spawn"):
            continue
        rule = _TABLE.get(f"{head}.")
        if rule is not None:
            # Constants and exceptions of a module do nothing; a loop's own exceptions never come, though.
            harmless = last.isupper() or (last.endswith(("Error", "Exception", "Warning")) and rule != "host-loop")
            return None if harmless else rule
        if _TABLE.get(head) is not None:
            return _TABLE[head]  # os.environ.get
    if parts[0] == "os" and last.startswith(("exec", "spawn")):
        return "process"
    return None


def alternative_for(dotted: str) -> str | None:
    """What to use instead of a host loop's function; None if the rule's own words say it."""
    parts = dotted.split(".")
    return _ANYIO_FOR.get(parts[1]) if parts[0] in ("asyncio", "trio") and len(parts) > 1 else None
