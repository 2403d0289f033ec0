"""The Rust core as the rest of the package sees it: calls that are awaited, commands that are posted, receivers that are called.

One pump per core watches the core's descriptor; a turn takes everything that waits, hands it on, and submits in one batch what the
handlers posted meanwhile.
"""

from __future__ import annotations

import atexit
import logging
import os
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from . import proto
from .turns import Turns, Work
from .wake import open_pump

if TYPE_CHECKING:
    from .._generated import durable_core as native
else:
    from ..durable_core import durable_core as native

__all__ = ["BridgeError", "Core", "Receiver", "native", "new_command", "replay_close", "replay_open", "replay_step"]

logger = logging.getLogger("durable_anyio")

# Any: UniFFI hangs the variants (`BadHandle`, `Panic`, …) on the class after its definition, which no type checker sees.
BridgeError: Any = native.BridgeError
replay_open: Callable[[bytes, str, str], int] = native.replay_open
replay_step: Callable[[int, bytes], bytes] = native.replay_step
replay_close: Callable[[int], None] = native.replay_close

# Items taken at once: enough that a crossing costs nothing per item, few enough that the host's other tasks get their turn.
DRAIN_LIMIT = 256
# gRPC's codes that this file gives itself.
CANCELLED = 1
UNAVAILABLE = 14

_Commands = proto.message("durable_anyio.bridge.v1.Commands")
_Command = proto.message("durable_anyio.bridge.v1.Command")
_Items = proto.message("durable_anyio.bridge.v1.Items")

# How services are told what talks to them.
CLIENT_NAME = "durable-anyio"
try:
    CLIENT_VERSION = version("durable-anyio")
except PackageNotFoundError:  # run from a source tree that is not installed
    CLIENT_VERSION = native.core_version()

atexit.register(native.core_close_all)


def _varint(number: int) -> bytes:
    """As protobuf writes a number that is not negative."""
    if number < 0x80:
        return bytes((number,))
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


class Receiver(Protocol):
    """What a worker attaches: called on the host's thread, by the pump; must neither block nor raise."""

    def on_activation(self, activation: bytes) -> None:
        """An encoded `coresdk.workflow_activation.WorkflowActivation`."""

    def on_eviction(self, run_id: str) -> None:
        """A run is to be forgotten. Without an answer: nothing of it is open."""

    def on_activity(self, task: bytes) -> None:
        """An encoded `coresdk.activity_task.ActivityTask`."""

    def on_event(self, level: int, message: str, fatal: bool) -> None:
        """Something to log, with Python's level; `fatal`: the worker has stopped for this reason."""


def new_command() -> Any:
    """An empty `durable_anyio.bridge.v1.Command`."""
    return _Command()


class _Pending:
    """A command that waits for its answer."""

    __slots__ = ("done", "error", "value")

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.value = b""
        self.error: Exception | None = None

    def fail(self, error: Exception) -> None:
        self.error = error
        self.done.set()


class Core:
    """A running core. Made by `open`, ended by `close`; belongs to the event loop and the process that opened it."""

    def __init__(self) -> None:
        self._handle: int = native.core_open()
        self._process = os.getpid()
        try:
            self._wake_fd: int = native.core_wake_fd(self._handle)
        except BaseException:
            native.core_close(self._handle)
            raise
        self._pending: dict[int, _Pending] = {}
        self._receivers: dict[int, Receiver] = {}
        self._next_id = 1
        self._batch: list[bytes] = []
        self._is_batching = False
        self._turns = Turns()
        self._is_closed = False
        self._end: Exception | None = None
        self._closed = anyio.Event()
        self._pump = open_pump(self._wake_fd, self._turn, self._on_pump_ended, name="durable_anyio pump")

    @classmethod
    async def open(cls) -> Core:
        """Starts a core's threads and its pump on the running event loop."""
        return cls()

    async def connect(
        self,
        target: str,
        namespace: str = "default",
        identity: str = "",
        time_skipping: bool = False,
        write_options: Callable[[Any], None] | None = None,
    ) -> None:
        """Connects to "sqlite:FILE", "sqlite::memory:" or "host:port". The first command of a core.

        :param write_options: fills in what the `Connect` message says about a network connection.
        :raises RPCError: if the target is no target, cannot be opened or cannot be reached; the message says what to do.
        """
        command = _Command()
        connect = command.connect
        connect.target, connect.namespace, connect.identity = target, namespace, identity
        connect.time_skipping = time_skipping
        connect.client_name, connect.client_version = CLIENT_NAME, CLIENT_VERSION
        if write_options is not None:
            write_options(connect)
        await self.command(command)

    async def call(
        self,
        rpc: str,
        request: Any,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        service: str = "",
        response: type[Any] | None = None,
    ) -> Any:
        """Calls the RPC with its request message and returns its response message.

        :param timeout: seconds; none: until it is answered.
        :param service: the full name of the gRPC service, with the class of its `response`; empty: WorkflowService.
        :raises RPCError: if the service refuses or cannot be reached. A cancelled call is given up on the other side too.
        """
        answer = (response or proto.message(f"temporal.api.workflowservice.v1.{rpc}Response"))()
        command = _Command()
        call = command.call
        call.rpc, call.request, call.service = rpc, request.SerializeToString(), service
        call.namespace = getattr(request, "namespace", "")
        if timeout is not None:
            call.timeout_ms = max(1, round(timeout * 1000))
        if metadata:
            call.metadata.update(metadata)
        answer.ParseFromString(await self.command(command))
        return answer

    def set_headers(self, metadata: Mapping[str, str], api_key: str) -> None:
        """All calls that are made from now on have these headers."""
        command = _Command()
        command.set_headers.SetInParent()
        command.set_headers.metadata.update(metadata)
        command.set_headers.api_key = api_key
        self.post(command)

    async def command(self, command: Any) -> bytes:
        """Sends a command (its id is set here) and waits for its answer's value.

        :raises RPCError: if the answer is a refusal, or the core closes before there is one.
        """
        await anyio.lowlevel.checkpoint_if_cancelled()
        self._check_process()
        if self._end is not None:
            raise self._closed_error()
        number = self._next_id
        self._next_id += 1
        command.id = number
        pending = self._pending[number] = _Pending()
        try:
            self.post(command)
            await pending.done.wait()
        except BaseException:
            if self._pending.pop(number, None) is not None and command.HasField("call"):
                cancel = _Command()
                cancel.cancel_call.call = number
                self.post(cancel)
            raise
        if pending.error is not None:
            raise pending.error
        return pending.value

    def post(self, command: Any) -> None:
        """Sends a command without waiting. What handlers post, and the tasks that they wake, goes in one batch.

        After `close` it does nothing: whoever answers late finds nobody to answer to.
        """
        if self._end is None:
            self._post(_Commands(commands=[command]).SerializeToString())

    def post_workflow_completion(self, worker: int, completion: bytes) -> None:
        """Sends an encoded `coresdk.workflow_completion.WorkflowActivationCompletion` of a worker, as `post` does."""
        if self._end is None:
            # By hand: it is what is sent most, and three messages round some bytes cost more than the bytes.
            inner = b"\x08" + _varint(worker) + b"\x12" + _varint(len(completion)) + completion
            inner = b"\x3a" + _varint(len(inner)) + inner
            self._post(b"\x0a" + _varint(len(inner)) + inner)

    def _post(self, encoded: bytes) -> None:
        if self._is_batching:
            self._batch.append(encoded)
        else:
            native.core_submit(self._handle, encoded)

    def do_in_turns(self, work: Work, budget_seconds: float) -> None:
        """Does `work` on the host's thread, a slice at a time; other tasks of the host run between two slices.

        What is not done when the core closes, or its pump ends, is never done. Call from a receiver only.
        """
        self._turns.add(work, budget_seconds)

    def attach(self, worker: int, receiver: Receiver) -> None:
        """Directs the items of the worker with this number to `receiver`. Before its `StartWorker`."""
        if worker in self._receivers:
            raise ValueError(f"worker {worker} is attached already")
        self._receivers[worker] = receiver

    def detach(self, worker: int) -> None:
        """The worker's items are dropped from now on."""
        self._receivers.pop(worker, None)

    async def close(self) -> None:
        """Ends the pump and the core: everything that waits is refused. Returns when Rust's threads are gone.

        A second call waits for the first.
        """
        if self._is_closed:
            await self._closed.wait()
            return
        self._is_closed = True
        with suppress(BridgeError):  # in a forked process, or closed at exit: nobody takes it any more
            self._submit()
        self._finish(None)
        with anyio.CancelScope(shield=True):
            # The pump first: it must not wait for a descriptor that is being closed.
            self._pump.cancel()
            await self._pump.wait()
            try:
                # In a thread: joining Rust's threads takes milliseconds, or seconds when the disk is slow.
                await anyio.to_thread.run_sync(native.core_close, self._handle)
            finally:
                native.core_close(self._handle)  # does nothing unless the thread could not be started
                self._closed.set()

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        if getattr(self, "_is_closed", True) or self._process != os.getpid():
            return
        _warn("a client was never closed; hint: use `async with Client.connect(…)`", ResourceWarning, source=self, stacklevel=2)
        native.core_close(self._handle)

    def _turn(self) -> bool:
        """Takes what waits and hands it on; True: once more, when the host's other tasks have had their turn."""
        try:
            if self._is_batching:
                self._is_batching = False
                self._submit()
                return bool(self._turns)
            self._is_batching = True
            has_woken = self._drain()
            self._turns.run_slice()
            self._submit()
            # A crossing gives up the interpreter's lock, which costs more than a command does. So the tasks that were just woken
            # get their turn first, and what they send goes together.
            self._is_batching = has_woken
            return has_woken or bool(self._turns)
        except Exception as error:
            logger.exception("the connection between Python and Rust broke; please report it")
            self._finish(error)
            self._pump.cancel()
            return False
        except BaseException:  # an interrupt, which the host may survive
            self._is_batching = False
            raise

    def _on_pump_ended(self) -> None:
        self._is_batching = False
        # Also when the host cancels everything: nobody may wait for an answer that nobody reads.
        self._finish(None)

    def _drain(self) -> bool:
        """Hands on what waits. True: some of it is for tasks of the host, which may have something to send now."""
        is_for_tasks = False
        for item in _Items.FromString(native.core_drain(self._handle, DRAIN_LIMIT)).items:
            try:
                is_for_tasks |= self._handle_item(item)
            except Exception:
                logger.exception("an item of the core could not be handled; please report it")
        return is_for_tasks

    def _submit(self) -> None:
        """Sends what was posted since the last time."""
        if self._batch and self._end is None:
            batch, self._batch = self._batch, []
            # Encoded messages of one kind behind each other are one message with all that is in them.
            native.core_submit(self._handle, b"".join(batch) if len(batch) > 1 else batch[0])

    def _handle_item(self, item: Any) -> bool:
        kind = item.WhichOneof("kind")
        if kind == "activation":
            receiver = self._receivers.get(item.activation.worker)
            if receiver is not None:
                receiver.on_activation(item.activation.activation)
            return False
        if kind == "eviction":
            receiver = self._receivers.get(item.eviction.worker)
            if receiver is not None:
                receiver.on_eviction(item.eviction.run_id)
            return False
        if kind == "answer":
            self._handle_answer(item.answer)
        elif kind == "activity":
            receiver = self._receivers.get(item.activity.worker)
            if receiver is not None:
                receiver.on_activity(item.activity.task)
        elif kind == "event":
            self._handle_event(item.event)
        return True

    def _handle_answer(self, answer: Any) -> None:
        pending = self._pending.pop(answer.id, None)
        if pending is None:
            return  # given up meanwhile
        if answer.HasField("refusal"):
            from ..exceptions import RPCError

            refusal = answer.refusal
            pending.error = RPCError(refusal.message, refusal.code, refusal.details)
        else:
            pending.value = answer.value
        pending.done.set()

    def _handle_event(self, event: Any) -> None:
        receiver = self._receivers.get(event.worker)
        if receiver is not None:
            receiver.on_event(event.level, event.message, event.fatal)
            return
        logger.log(event.level, "%s", event.message)
        if event.worker == 0 and event.fatal:
            # The engine, or Rust itself, is gone: workers have to know, or they wait for ever.
            for one in list(self._receivers.values()):
                one.on_event(event.level, event.message, True)

    def _finish(self, reason: Exception | None) -> None:
        if self._end is None:
            self._end = reason or ConnectionError("the client is closed")
        pending, self._pending = self._pending, {}
        for one in pending.values():
            one.fail(self._closed_error())

    def _closed_error(self) -> Exception:
        from ..exceptions import RPCError

        if self._is_closed:
            return RPCError("the client is closed", CANCELLED)
        return RPCError(f"the client's connection to its core has ended: {self._end}; hint: open a new client", UNAVAILABLE)

    def _check_process(self) -> None:
        if self._process != os.getpid():
            raise RuntimeError("this client was opened before the process was forked; hint: open a new client in the forked process")
