"""One place where others serve our provider contracts: its address, its connection, and what calls to it come to."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import SplitResult, parse_qsl, urlsplit

import grpc
from google.protobuf.message import DecodeError, Message

from extauthz.errors import ConfigError, ExtauthzError, InvalidRecord, ProviderError
from extauthz.model import trace
from extauthz.providers.remote_errors import ERROR_WORD, Refusal, error_of
from extauthz.providers.remote_rpc import LOOKUPS, Rpc

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)

MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
    # Reconnecting: at once, then after 100 ms, growing to 1 s, each with gRPC's own jitter of 20 %.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),  # how long one attempt may take
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    # A peer that is silent is noticed. Pings while a call is under way, and no oftener: many servers (Go's, Java's) hang up on
    # who pings an idle connection. The time-out also bounds how long sent bytes may stay unacknowledged (TCP_USER_TIMEOUT).
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 0),
    # Several addresses behind one name are several replicas: all are used, and one that is gone is passed over.
    ("grpc.lb_policy_name", "round_robin"),
    # A charge must never be sent twice. gRPC by itself sends again only what the server certainly never saw; a policy that says
    # more could come from the name server.
    ("grpc.service_config_disable_resolution", 1),
    # A proxy of the environment is for the way out of the house.
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
)
_FILES: Final = ("ca", "cert", "key")

RENEW_SECONDS: Final = 1.0
"""A connection that is no good is replaced, at most once in so many seconds: an outage makes no storm of them."""

RETIRE_SECONDS: Final = 5.0
"""For what is still under way on one that was replaced."""

_LOST: Final = grpc.ChannelConnectivity.TRANSIENT_FAILURE
_SILENT: Final = grpc.StatusCode.DEADLINE_EXCEEDED


class RemoteChannel:
    """The connection to one provider, made when it is needed, and again whenever it was lost.

    Several providers at one place share it: each starts it and closes it, and the last one to close ends it.

    gRPC itself waits before it connects again to who is gone, and holds on to a connection whose other end takes everything and
    says nothing. Neither may cost the one try that an open circuit makes: where gRPC waits the call begins with a connection of
    its own, and where a whole call's time went by without an answer to anybody the next one finds another connection.

    Args:
        url: `grpc://host:port`, `grpc:///path/of/a.sock`, or `grpcs://host:port?ca=FILE&cert=FILE&key=FILE`, where all three
            files (PEM) may be missing: `ca` is then what the machine trusts, and no certificate is shown.

    Raises:
        ConfigError: it is none of these.
    """

    def __init__(self, url: str) -> None:
        self._target, self._files = _parse(url)
        self._users = 0
        self._channel: grpc.aio.Channel | None = None
        self._opened = 0.0
        self._heard = 0.0
        self._retiring: set[asyncio.Task[None]] = set()
        self._calls: dict[str, grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]] = {}

    async def start(self) -> None:
        """Begin to connect. A provider that cannot be reached is no error here: each call tries again.

        Raises:
            ConfigError: a file of the URL cannot be read.
        """
        if self._channel is None:
            self._channel = self._connect()
        self._users += 1

    async def close(self) -> None:
        """End the connection with the last user. Calls under way end with `ProviderError`."""
        self._users = max(0, self._users - 1)
        channel = self._channel
        if self._users or channel is None:
            return
        self._channel = None
        self._calls.clear()
        for task in self._retiring:
            task.cancel()
        await asyncio.gather(channel.close(), *self._retiring, return_exceptions=True)

    async def ask(self, rpc: Rpc[Q, A], build: Callable[[], Q], seconds: float) -> A:
        """The answer to a call, which has so many `seconds`; the provider is told so. `build` makes the request.

        Raises:
            InvalidRecord: the request cannot be written, the answer cannot be read, or the provider says that of a record.
            ProviderTimeout: there was no answer in time.
            ProviderError: there was none at all.
            ChangeRefused: what was asked is not permitted.
        """
        try:
            message = build().SerializeToString()
        except ValueError as error:
            raise InvalidRecord(f"{rpc.method}: a value cannot be written: {error}") from None
        raw = await self._call(rpc, message, seconds)
        try:
            return rpc.answer.FromString(raw)
        except DecodeError:
            raise InvalidRecord(f"{rpc.method}: the bytes of the answer are no {rpc.answer.__name__}") from None

    async def _call(self, rpc: Rpc[Q, A], message: bytes, seconds: float) -> bytes:
        traceparent = trace.current.get()
        metadata = ((trace.HEADER, traceparent),) if traceparent else None
        if self._channel is not None and self._channel.get_state() is _LOST:
            self._renew()
        began = _now()
        try:
            answer = await self._method(rpc.path)(message, timeout=seconds, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            if error.code() is _SILENT and self._heard < began:
                self._renew()
            raise _meaning(error, lookup=rpc in LOOKUPS) from None
        except (grpc.aio.UsageError, grpc.aio.InternalError) as error:
            raise ProviderError(f"the connection failed: {error}") from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                if self._heard < began and _now() - began >= seconds:
                    self._renew()  # whoever called was a moment before gRPC
                raise
            raise ProviderError("the connection was closed") from None  # under this call; nobody cancelled us
        self._heard = _now()
        return answer

    def _connect(self) -> grpc.aio.Channel:
        """At once: the first call is to find it made."""
        channel = _open(self._target, self._files)
        channel.get_state(try_to_connect=True)
        self._opened = _now()
        return channel

    def _renew(self) -> None:
        """Another connection for the calls to come; those under way end on theirs."""
        old = self._channel
        if old is None or _now() - self._opened < RENEW_SECONDS:
            return
        self._channel = self._connect()
        self._calls.clear()
        task = asyncio.create_task(old.close(RETIRE_SECONDS))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    def _method(self, path: str) -> "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]":
        """The call of that path, of bytes: gRPC would make UNKNOWN of an answer that it cannot read for us."""
        if self._channel is None:
            raise ProviderError("the connection is not open")
        if path not in self._calls:
            self._calls[path] = self._channel.unary_unary(path)
        return self._calls[path]


def _meaning(error: grpc.aio.AioRpcError, *, lookup: bool) -> ExtauthzError:
    word = dict(error.trailing_metadata()).get(ERROR_WORD, "")
    refusal = Refusal(error.code(), error.details() or "", word if isinstance(word, str) else "")
    return error_of(refusal, lookup=lookup)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _open(target: str, files: dict[str, Path] | None) -> grpc.aio.Channel:
    if files is None:
        return grpc.aio.insecure_channel(target, options=_OPTIONS)
    read = {name: _read(name, path) for name, path in files.items()}
    credentials = grpc.ssl_channel_credentials(read.get("ca"), read.get("key"), read.get("cert"))
    return grpc.aio.secure_channel(target, credentials, options=_OPTIONS)


def _read(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{name}={path} of a grpcs:// URL cannot be read: {error.strerror}") from None


def _parse(url: str) -> tuple[str, dict[str, Path] | None]:
    """What to connect to, and the files for TLS; None for a connection in plain text."""
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        target = _target(parts)
    except ValueError:
        raise ConfigError("a grpc:// or grpcs:// URL must be like grpc://host:port") from None
    if parts.scheme == "grpc" and not options:
        return target, None
    unknown = sorted(set(options) - set(_FILES))
    if parts.scheme != "grpcs" or unknown:
        raise ConfigError(
            f"a {parts.scheme}:// URL takes no {', '.join(unknown or sorted(options))}; grpcs:// takes ca, cert and key"
        )
    if ("cert" in options) is not ("key" in options):
        raise ConfigError("a grpcs:// URL needs cert and key together")
    return target, {name: Path(path) for name, path in options.items()}


def _target(parts: SplitResult) -> str:
    if parts.scheme == "grpc" and not parts.netloc and parts.path.startswith("/") and parts.path != "/":
        return f"unix:{parts.path}"
    if parts.scheme not in {"grpc", "grpcs"} or not parts.hostname or not parts.port or "@" in parts.netloc:
        raise ValueError(parts.scheme)
    if parts.path not in {"", "/"} or parts.fragment:
        raise ValueError(parts.path)
    return f"dns:///{parts.netloc}"
