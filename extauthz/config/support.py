"""What this version can serve. Everything else that the configuration can express is refused with what there is instead."""

from collections.abc import Iterator
from typing import Final

from extauthz.config.problems import Path, Problem, did_you_mean
from extauthz.config.server import Frontend
from extauthz.config.tree import Config
from extauthz.model.identity import AuthMethod

_STATE: Final = ("sqlite:///file", "memory:")
_SUPPORTED: Final = {
    "credentials": _STATE,
    "lifecycle": _STATE,
    "billing": _STATE,
    "protection": ("memory:",),
    "events": ("sqlite:///file", "memory:", "none:"),
}
_LATER: Final = {
    "state": frozenset({"postgresql", "grpc", "grpcs"}),
    "protection": frozenset({"redis", "rediss", "redis+sentinel", "redis+cluster", "grpc", "grpcs"}),
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
        if url.scheme in schemes:
            continue
        known = url.scheme in _LATER["protection" if provider == "protection" else "state"]
        text = (
            f"`{url.scheme}:` is not part of this version" if known else f"`{url.scheme}:` is no provider of {provider}"
        )
        hint = "" if known else did_you_mean(url.scheme, schemes)
        yield _at(
            f"providers.{provider}.url", "; ".join(filter(None, (text, f"supported: {', '.join(supported)}", hint)))
        )
