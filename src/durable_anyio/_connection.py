"""How a client connects to a service over the network: the options, checked before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

__all__ = ["ConnectionOptions", "HttpConnectProxyConfig", "KeepAliveConfig", "RetryConfig", "TLSConfig"]

# The service answers ordinary calls in milliseconds; a call without an end would hide a dead connection.
CALL_TIMEOUT_SECONDS = 30.0
# The bound of one attempt of such a call, which the Rust side keeps.
_ATTEMPT_SECONDS = 10.0
# What a header's name and value may consist of: HTTP/2 refuses the rest, and would name neither.
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")


@dataclass(frozen=True)
class TLSConfig:
    """An encrypted connection. Certificates and the key are PEM, as bytes: `Path("ca.pem").read_bytes()`.

    :raises TypeError: for text instead of bytes.
    :raises ValueError: for what is not PEM, and for a client certificate without its key.
    """

    server_root_ca_cert: bytes | None = None
    """Who signed the server's certificate; None: the authorities that the system trusts."""
    domain: str | None = None
    """The name that the server's certificate must have, where it is not the host of the target."""
    client_cert: bytes | None = None
    """The certificate that this side shows (mTLS), with `client_private_key`."""
    client_private_key: bytes | None = field(default=None, repr=False)
    """The key of `client_cert`."""

    def __post_init__(self) -> None:
        for name in ("server_root_ca_cert", "client_cert", "client_private_key"):
            value = getattr(self, name)
            if value is None:
                continue
            if not isinstance(value, bytes):
                raise TypeError(f"TLSConfig({name}=…) must be bytes, not {type(value).__name__}; hint: Path(…).read_bytes()")
            if b"-----BEGIN " not in value:
                raise ValueError(f"TLSConfig({name}=…) is not PEM: it has no line that begins with -----BEGIN")
        if (self.client_cert is None) is not (self.client_private_key is None):
            raise ValueError("TLSConfig: client_cert and client_private_key go together, one of them is missing")


@dataclass(frozen=True)
class HistoryLimits:
    """How long a history may become in an embedded engine before its workflow is terminated; the service's own numbers.

    The first client that opens a database file decides for all of the process; one that asks for other limits is refused.
    """

    events: int = 51_200
    size_bytes: int = 50 * 1024 * 1024

    def __post_init__(self) -> None:
        if self.events <= 0 or self.size_bytes <= 0:
            raise ValueError("HistoryLimits: both numbers must be positive")


@dataclass(frozen=True)
class KeepAliveConfig:
    """Pings that notice a connection which died without a word."""

    interval_millis: int = 30_000
    """From one ping to the next; services close connections that ping more often than every 10 seconds."""
    timeout_millis: int = 15_000
    """How long an answer may take until the connection is given up."""

    def __post_init__(self) -> None:
        if self.interval_millis <= 0 or self.timeout_millis <= 0:
            raise ValueError("KeepAliveConfig: both times must be positive; keep_alive_config=None turns pings off")


@dataclass(frozen=True)
class RetryConfig:
    """How calls that the service did not answer, or asked to repeat, are tried again.

    Calls that wait for a workflow (`result`, updates, queries) are tried again as long as the caller waits while the service cannot be
    reached; a worker's polls never end. A call that might be done twice is only tried again when it surely did not arrive.
    """

    initial_interval_millis: int = 100
    """The first pause."""
    randomization_factor: float = 0.2
    """By how much of itself a pause varies."""
    multiplier: float = 1.5
    """How pauses grow."""
    max_interval_millis: int = 5_000
    """The longest pause."""
    max_elapsed_time_millis: int | None = 10_000
    """No attempt begins later than this; None: no such limit. One attempt takes 10 seconds at most."""
    max_retries: int = 10
    """Attempts after the first; 0: no such limit."""

    def __post_init__(self) -> None:
        if self.initial_interval_millis <= 0 or self.max_interval_millis <= 0:
            raise ValueError("RetryConfig: the intervals must be positive")
        if self.multiplier < 1 or not 0 <= self.randomization_factor <= 1:
            raise ValueError("RetryConfig: multiplier must be at least 1, randomization_factor from 0 to 1")
        if self.max_retries < 0 or (self.max_elapsed_time_millis is not None and self.max_elapsed_time_millis <= 0):
            raise ValueError("RetryConfig: max_retries must not be negative, max_elapsed_time_millis positive or None")


@dataclass(frozen=True)
class HttpConnectProxyConfig:
    """A proxy that is asked with HTTP's CONNECT for a connection to the service."""

    target_host: str
    """`host:port` of the proxy."""
    basic_auth: tuple[str, str] | None = field(default=None, repr=False)
    """User and password for the proxy."""

    def __post_init__(self) -> None:
        host, _, port = self.target_host.rpartition(":")
        if not host or not port.isdecimal():
            raise ValueError(f"HttpConnectProxyConfig({self.target_host!r}): write host:port")


@dataclass(frozen=True)
class ConnectionOptions:
    """What `Client.connect` was given about the network; an embedded engine has no use for it."""

    rpc_metadata: Mapping[str, str] = field(default_factory=dict, repr=False)
    api_key: str | None = field(default=None, repr=False)
    tls: bool | TLSConfig | None = None
    keep_alive: KeepAliveConfig | None = field(default_factory=KeepAliveConfig)
    retry: RetryConfig | None = None
    lazy: bool = False
    connect_timeout: timedelta | None = None
    compression: bool = False
    proxy: HttpConnectProxyConfig | None = None
    history_limits: HistoryLimits | None = None

    def __post_init__(self) -> None:
        check_metadata(self.rpc_metadata)
        check_api_key(self.api_key)
        if self.tls is not None and not isinstance(self.tls, bool | TLSConfig):
            raise TypeError(f"tls must be True, False or a TLSConfig, not {type(self.tls).__name__}")
        if self.connect_timeout is not None and self.connect_timeout <= timedelta(0):
            raise ValueError(f"connect_timeout must be positive, not {self.connect_timeout}")

    @property
    def call_timeout(self) -> float | None:
        """Seconds that an ordinary call may take with all its attempts; None: as long as it is tried again."""
        if self.retry is None:
            return CALL_TIMEOUT_SECONDS
        if self.retry.max_elapsed_time_millis is None:
            return None
        return max(CALL_TIMEOUT_SECONDS, self.retry.max_elapsed_time_millis / 1000 + _ATTEMPT_SECONDS)

    @property
    def is_encrypted(self) -> bool:
        """Whether the connection is: an API key alone wants it too."""
        return bool(self.tls) or (self.tls is None and self.api_key is not None)

    def check_key_is_safe(self) -> None:
        """An API key may be given later, too; whoever reads a plain-text connection would have it.

        :raises ValueError: unless the connection is encrypted, or was said to be plain text on purpose.
        """
        if not self.is_encrypted and self.tls is not False:
            raise ValueError(
                "an API key is not sent over a plain-text connection; hint: give tls=True to Client.connect, or tls=False if the network "
                "between is trusted"
            )

    def write_to(self, connect: Any) -> None:
        """Fills in a `durable_anyio.bridge.v1.Connect`."""
        connect.metadata.update(self.rpc_metadata)
        connect.api_key = self.api_key or ""
        connect.lazy = self.lazy
        connect.compresses_requests = self.compression
        if self.history_limits is not None:
            connect.max_history_events = self.history_limits.events
            connect.max_history_bytes = self.history_limits.size_bytes
        if self.connect_timeout is not None:
            connect.connect_timeout_ms = max(1, round(self.connect_timeout.total_seconds() * 1000))
        if self.is_encrypted:
            tls = self.tls if isinstance(self.tls, TLSConfig) else TLSConfig()
            connect.tls.SetInParent()
            connect.tls.server_root_ca_cert = tls.server_root_ca_cert or b""
            connect.tls.domain = tls.domain or ""
            connect.tls.client_cert = tls.client_cert or b""
            connect.tls.client_private_key = tls.client_private_key or b""
        if self.keep_alive is not None:
            connect.keep_alive.interval_ms = self.keep_alive.interval_millis
            connect.keep_alive.timeout_ms = self.keep_alive.timeout_millis
        if self.retry is not None:
            connect.retry.initial_interval_ms = self.retry.initial_interval_millis
            connect.retry.randomization_factor = self.retry.randomization_factor
            connect.retry.multiplier = self.retry.multiplier
            connect.retry.max_interval_ms = self.retry.max_interval_millis
            connect.retry.max_elapsed_ms = self.retry.max_elapsed_time_millis or 0
            connect.retry.max_retries = self.retry.max_retries
        if self.proxy is not None:
            connect.http_connect_proxy.target = self.proxy.target_host
            connect.http_connect_proxy.basic_auth = ":".join(self.proxy.basic_auth or ())


def check_metadata(metadata: Mapping[str, str]) -> None:
    """:raises TypeError: / :raises ValueError: for a header that cannot be sent; the message does not show the value."""
    for name, value in metadata.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"rpc_metadata must map strings to strings: {name!r}")
        if not name or not _NAME_CHARACTERS.issuperset(name.lower()) or name.lower().endswith("-bin"):
            raise ValueError(f"rpc_metadata: {name!r} is not the name of a text header; hint: letters, digits and -_. only")
        if not _is_printable_ascii(value):
            raise ValueError(f"rpc_metadata: the value of {name!r} is not printable ASCII")


def check_api_key(api_key: str | None) -> None:
    """:raises TypeError: / :raises ValueError: for a key that no header can carry; the message does not show it."""
    if api_key is None:
        return
    if not isinstance(api_key, str):
        raise TypeError(f"api_key must be a string, not {type(api_key).__name__}")
    if not api_key or not _is_printable_ascii(api_key):
        raise ValueError("api_key is empty or has a character that no header can carry; hint: was a line break read with it?")


def _is_printable_ascii(text: str) -> bool:
    return text.isascii() and text.isprintable()
