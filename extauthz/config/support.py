"""What this version can serve. Everything else that the configuration can express is refused with what there is instead."""

from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from extauthz.config.problems import Path, Problem, did_you_mean
from extauthz.config.server import Frontend
from extauthz.config.tree import Config
from extauthz.model.identity import AuthMethod

PLUGINS: Final = "extauthz.providers"
"""The entry points under which other people's Python providers are found, by the scheme of their URLs."""

_STATE: Final = ("sqlite:///file", "memory:", "postgresql://…", "grpc://host:port", "grpcs://host:port")
_SUPPORTED: Final = {
    "credentials": _STATE,
    "lifecycle": _STATE,
    "billing": _STATE,
    "protection": (
        "memory:",
        "redis://…",
        "rediss://…",
        "redis+sentinel://…",
        "redis+cluster://…",
        "grpc://host:port",
        "grpcs://host:port",
    ),
    "events": ("sqlite:///file", "memory:", "none:", "postgresql://…", "grpc://host:port", "grpcs://host:port"),
}


def unsupported(config: Config) -> Iterator[Problem]:
    """Everything that is well formed and that this version cannot serve."""
    yield from _urls(config)
    if config.server.frontend is not Frontend.GRPCIO:
        yield _at("server.frontend", f"`{config.server.frontend}` is not part of this version; supported: grpcio")
    if config.server.workers > 1:
        yield _at("server.workers", "more than one process is not part of this version; supported: 1")
    for index, method in enumerate(config.gates.auth.methods):
        if method is not AuthMethod.API_KEY:
            path: Path = ("gates", "auth", "methods", index)
            yield Problem(path=path, text=f"`{method}` is not part of this version; supported: api_key")
    if config.gates.auth.operator_claim is not None:
        yield _at("gates.auth.operator_claim", "needs the methods jwt or envoy_jwt, which are not part of this version")


def _at(path: str, text: str) -> Problem:
    return Problem(path=tuple(path.split(".")), text=text)


def _urls(config: Config) -> Iterator[Problem]:
    for provider, url in config.providers.urls().items():
        supported = _SUPPORTED[provider]
        schemes = [each.partition(":")[0] for each in supported]
        if url.scheme in schemes or plugin_named(url.scheme) is not None:
            continue
        hint = did_you_mean(url.scheme, schemes)
        text = f"`{url.scheme}:` is no provider of {provider}; supported: {', '.join(supported)}"
        yield _at(f"providers.{provider}.url", "; ".join(filter(None, (text, hint))))


def plugin_named(scheme: str) -> EntryPoint | None:
    """The entry point that provides for URLs of that scheme, not yet imported; None where none is installed."""
    return next(iter(entry_points(group=PLUGINS, name=scheme)), None)
