"""What a worker's heartbeats say of its program and host. The Rust side fills in the rest and sends them."""

from __future__ import annotations

import functools
import platform
import socket
from typing import Any

from ._bridge.core import CLIENT_NAME, CLIENT_VERSION
from ._bridge.proto import message

__all__ = ["heartbeat_template"]

_ARCHITECTURES = {
    "x86_64": "ARCHITECTURE_AMD64",
    "amd64": "ARCHITECTURE_AMD64",
    "aarch64": "ARCHITECTURE_ARM64",
    "arm64": "ARCHITECTURE_ARM64",
}
_LIBCS = {"glibc": "LIBC_GLIBC", "musl": "LIBC_MUSL"}


def heartbeat_template(grouping_key: str) -> bytes:
    """An encoded WorkerHeartbeat.

    :param grouping_key: the same for all workers of one client.
    """
    heartbeat = message("temporal.api.worker.v1.WorkerHeartbeat")()
    heartbeat.sdk_name, heartbeat.sdk_version = CLIENT_NAME, CLIENT_VERSION
    heartbeat.host_info.host_name = socket.gethostname()
    heartbeat.host_info.worker_grouping_key = grouping_key
    heartbeat.environment.CopyFrom(_environment())
    return bytes(heartbeat.SerializeToString())


@functools.cache
def _environment() -> Any:
    """The interpreter and the system, as far as the service has names for them."""
    environment = message("temporal.api.worker.v1.EnvironmentInfo")()
    if platform.python_implementation() == "CPython":
        runtime = environment.runtimes.add()
        runtime.type = runtime.RUNTIME_TYPE_CPYTHON
        runtime.version = platform.python_version()
    architecture = _ARCHITECTURES.get(platform.machine().lower(), "ARCHITECTURE_UNSPECIFIED")
    match platform.system():
        case "Linux":
            system = environment.platform.linux
            system.libc = getattr(system, _LIBCS.get(platform.libc_ver()[0], "LIBC_UNSPECIFIED"))
        case "Darwin":
            system = environment.platform.macos
        case _:
            return environment
    system.version = platform.release()
    system.architecture = getattr(environment, architecture)
    return environment
