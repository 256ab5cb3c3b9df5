"""Warnings: a configuration that works, and in which something will surprise somebody."""

import os
import stat
from collections.abc import Iterator
from typing import Final

from extauthz.config.problems import Problem
from extauthz.config.tree import Config
from extauthz.config.units import format_duration

ENVOY_TIMEOUT: Final = 1.0
"""Seconds that the bundled Envoy waits for a check (`timeout` of its ext_authz filter)."""


def warnings_of(config: Config) -> Iterator[Problem]:
    """What whoever starts the service should know."""
    yield from _deadlines(config)
    yield from _secret_file("admin.token_file", config.admin.token_file)


def advice_on(config: Config) -> Iterator[Problem]:
    """What `--validate` adds: what is true of the defaults too, and what the service itself says again when it starts."""
    providers = config.providers
    yield from _secret_file("providers.credentials.pepper_file", providers.credentials.pepper_file)
    others = {"lifecycle": providers.lifecycle.url, "billing": providers.billing.url}
    credentials = providers.credentials.url
    shared = [name for name, url in others.items() if url == credentials and url.scheme != "memory"]
    if shared:
        ttl = format_duration(providers.credentials.cache.ttl)
        yield _warning(
            "providers.credentials.url",
            f"credentials live in the same database as {' and '.join(shared)}: when it is gone those gates fail open, but"
            f" traffic with API keys ends {ttl} later, when the last verified key leaves the cache"
            " (providers.credentials.cache.ttl)",
        )


def _warning(path: str, text: str) -> Problem:
    return Problem(path=tuple(path.split(".")), text=text)


def total_of(config: Config) -> float:
    """Seconds that a check takes when every provider uses up its deadline: lifecycle and billing are asked at once."""
    providers = config.providers
    looked_up = max(providers.lifecycle.timeout, providers.billing.timeout)
    return providers.credentials.timeout + looked_up + providers.protection.timeout + config.server.margin


def _deadlines(config: Config) -> Iterator[Problem]:
    total = total_of(config)
    if config.server.budget > ENVOY_TIMEOUT:
        yield _warning(
            "server.budget",
            f"{format_duration(config.server.budget)} is longer than the {format_duration(ENVOY_TIMEOUT)} that the bundled"
            " Envoy waits; give its ext_authz filter the same timeout",
        )
    limit = min(config.server.budget, ENVOY_TIMEOUT)
    if total > limit:
        yield _warning(
            "providers",
            f"the deadlines add up to {format_duration(total)} (credentials, the longer of lifecycle and billing, protection,"
            f" margin), more than the {format_duration(limit)} that a check may take: what does not fit is answered as if"
            " the provider had failed",
        )


def _secret_file(path: str, file: str | None) -> Iterator[Problem]:
    if file is None:
        return
    try:
        mode = os.stat(file).st_mode  # noqa: PTH116 - Path.stat would do no more
    except OSError as error:
        yield _warning(path, f"{file} cannot be read now: {(error.strerror or 'input/output error').lower()}")
        return
    if not stat.S_ISREG(mode):
        yield _warning(path, f"{file} is no file")
    elif mode & stat.S_IROTH:
        yield _warning(path, f"everybody on this machine can read {file}; chmod 600 {file}")
