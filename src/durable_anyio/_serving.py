"""``durable-anyio server``: an engine on a port, until it is told to stop."""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import anyio

from ._bridge.core import Core, new_command

logger = logging.getLogger("durable_anyio.server")

DEFAULT_LISTEN = "127.0.0.1:7233"
#: Calls that do something end in milliseconds; a disk that hangs must not keep the process for ever.
STOP_SECONDS = 10.0
_MEMORY = ":memory:"


@dataclass(frozen=True)
class Options:
    """The command line."""

    db: str
    listen: str = DEFAULT_LISTEN
    namespace: str = "default"
    log_format: str = "text"
    log_level: str = "info"


class Server:
    """An engine that other processes can call. For `async with`; when it is entered, `address` can be connected to.

    :param db: the database file, made when it is missing; `:memory:` keeps nothing.
    :param listen: `HOST:PORT` on the loopback interface; port 0 takes a free one.
    :raises RPCError: at the start: the file cannot be opened, or the address cannot be listened on; the message says what to do.
    """

    def __init__(self, db: str, *, listen: str = DEFAULT_LISTEN, namespace: str = "default", logs_calls: bool = False) -> None:
        self._target = f"sqlite:{db}"
        self._listen = listen
        self._namespace = namespace
        self._logs_calls = logs_calls
        self._core: Core | None = None
        self.address = ""
        """Where it listens, `127.0.0.1:7233` for instance."""

    async def __aenter__(self) -> Server:
        core = await Core.open()
        try:
            await core.connect(target=self._target, namespace=self._namespace, identity=f"server-{os.getpid()}")
            command = new_command()
            command.start_server.listen, command.start_server.logs_calls = self._listen, self._logs_calls
            self.address = (await core.command(command)).decode()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await core.close()
            raise
        self._core = core
        return self

    async def __aexit__(self, *_: object) -> None:
        core, self._core = self._core, None
        if core is None:
            return
        with anyio.CancelScope(shield=True):
            try:
                command: Any = new_command()
                command.stop_server.graceful_timeout_ms = round(STOP_SECONDS * 1000)
                if await core.command(command) != b"\x01":
                    logger.warning("calls were still open %s s after the stop: they were given up", STOP_SECONDS)
            finally:
                await core.close()


async def serve(options: Options) -> None:
    """Serves until SIGTERM or SIGINT; a second signal ends the process as usual."""
    begun, directory = time.monotonic(), os.getcwd()
    # Opened before anything else: a signal during the start stops it in order, too.
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        server = Server(options.db, listen=options.listen, namespace=options.namespace, logs_calls=options.log_level == "debug")
        async with server:
            # For whoever started it: one line on the standard output, and nothing else there.
            print(f"listening on {server.address}", flush=True)
            logger.info(
                "serving address=%s db=%s namespace=%s pid=%d start_ms=%d",
                server.address,
                options.db if options.db == _MEMORY else os.path.join(directory, options.db),
                options.namespace,
                os.getpid(),
                (time.monotonic() - begun) * 1000,
            )
            async for number in signals:
                logger.info("stopping signal=%s", signal.Signals(number).name)
                break
        logger.info("stopped")


def run(options: Options) -> None:
    """The command: logs to the standard error, serves, returns when it has stopped."""
    _set_up_log(options)
    _raise_descriptor_limit()
    anyio.run(serve, options)


def _set_up_log(options: Options) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if options.log_format == "json" else _TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(options.log_level.upper())


def _raise_descriptor_limit() -> None:
    """A connection is a descriptor, and the usual soft limit is below what the server takes."""
    with suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _time(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03d}Z"


class _TextFormatter(logging.Formatter):
    """`TIME LEVEL MESSAGE key=value …`, one line a record."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage().replace("\n", " | ")
        text = f"{_time(record)} {record.levelname} {message}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class _JsonFormatter(logging.Formatter):
    """One object a line; `key=value` words at a message's end stay in it."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {"time": _time(record), "level": record.levelname.lower(), "logger": record.name, "message": record.getMessage()}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)
