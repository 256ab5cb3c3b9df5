"""Protection counted in Redis or Valkey, for any number of replicas of this service."""

import hashlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from importlib import resources
from typing import ClassVar, Final, TypeVar

from redis.exceptions import NoScriptError, RedisError

from extauthz.errors import ExtauthzError, IdempotencyConflict
from extauthz.model.bucket import charged
from extauthz.model.protection import BURST_PERIOD_US, RATE_PERIOD_US, Charge, ChargeResult, Dimension, Usage
from extauthz.providers.protection_answer import LARGEST_COUNT, answer, over_limits, saturated
from extauthz.providers.redis_errors import translated
from extauthz.providers.redis_link import Reply
from extauthz.providers.redis_pack import packed
from extauthz.providers.redis_servers import Servers, connect_servers
from extauthz.providers.redis_sweep import Sweeper
from extauthz.providers.redis_url import parse_redis_url
from extauthz.resilience.bounded import within

log = logging.getLogger(__name__)

T = TypeVar("T")

PREFIX: Final = "extauthz:"
"""Each tenant's counts are in one hash, `extauthz:{tenant}`: the braces keep all of a tenant's keys in one hash slot."""
USAGE_PREFIX: Final = "extauthz-usage:"
"""Each reported usage is a key of its own for two days, `extauthz-usage:{tenant}:idempotency-key`."""

PATIENCE: Final = 5.0
"""Seconds for what is not on the way of a request: usage, clearing a tenant, and each step of clearing all."""

_PATTERN: Final = f"{PREFIX}{{*}}".encode()
_PING: Final = packed(b"PING")
_NONE: Final = b""
_YES: Final = b"1"
_NO: Final = b"0"


class _Script:
    """A script, called by its digest; sent whole where the server does not know it."""

    def __init__(self, name: str) -> None:
        folder = resources.files("extauthz.providers") / "resources"
        self._text = (folder / "account.lua").read_bytes() + b"\n" + (folder / name).read_bytes()
        self._digest = hashlib.sha1(self._text, usedforsecurity=False).hexdigest().encode()

    def by_digest(self, keys: tuple[bytes, ...], arguments: tuple[bytes | int, ...]) -> bytes:
        return packed(b"EVALSHA", self._digest, len(keys), *keys, *arguments)

    def whole(self, keys: tuple[bytes, ...], arguments: tuple[bytes | int, ...]) -> bytes:
        return packed(b"EVAL", self._text, len(keys), *keys, *arguments)


class RedisProtection:
    """Counts in Redis: one script, one round trip and one hash a charge, on Redis's own clock.

    Nothing is ever retried that may have been executed: a charge that was sent and not answered is a failure, and whether it
    was counted is not known. The script is sent whole where a server does not know it yet, and a cluster's node that keeps
    other keys has done nothing: both cost one round trip more, once.

    Args:
        url: see `redis_url.parse_redis_url`.
        timeout: the provider's own deadline in seconds, for connecting and as the measure of when a connection is given up.
        now: microseconds since 1970 in place of Redis's own clock, for tests.

    Raises:
        ConfigError: the URL is not valid.
    """

    in_process: ClassVar[bool] = False

    def __init__(self, url: str, *, timeout: float, now: Callable[[], int] | None = None) -> None:
        where = parse_redis_url(url)
        self._servers: Servers = connect_servers(where, timeout)
        self._where = ", ".join(map(str, where.places))
        self._sweeper = Sweeper(self._servers, where=self._where, pattern=_PATTERN, patience=PATIENCE)
        self._timeout = timeout
        self._now = now
        self._charge = _Script("charge.lua")
        self._usage = _Script("usage.lua")

    async def start(self) -> None:
        """Connect, so that the first charge does not have to. A server that is not there is no error: it is tried again."""
        try:
            await within(self._timeout, self._connect())
        except ExtauthzError as error:
            log.warning("protection is not connected yet: %s", error)

    async def close(self) -> None:
        """Hang up."""
        await self._sweeper.close()
        await self._servers.close()

    async def charge(self, charge: Charge) -> ChargeResult:
        """Count one request in all dimensions, or in none where a blocking dimension is exceeded."""
        limits, blocking = charge.limits, charge.blocking
        reply = await self._run(
            self._charge,
            (_key(charge.tenant_id),),
            _limit(limits.rate),
            _limit(limits.burst),
            _limit(limits.max_requests_per_day),
            _limit(limits.max_cost_per_day),
            min(charge.cost, LARGEST_COUNT),
            _YES if Dimension.QUOTA in blocking else _NO,
            _YES if Dimension.RATE in blocking else _NO,
            _YES if Dimension.BURST in blocking else _NO,
            _YES if Dimension.COST in blocking else _NO,
            _YES if charge.commit else _NO,
        )
        return _result(charge, reply)

    async def usage(self, tenant_id: str) -> Usage:
        """What the tenant used today (UTC, on Redis's clock)."""
        return await within(PATIENCE, self._count(tenant_id, (), _NONE))

    async def record_usage(self, tenant_id: str, cost: int, idempotency_key: str) -> Usage:
        """Add `cost` (micro-units, not negative), which is known only afterwards, to today's; the usage after it.

        The same key again up to the end of the next day adds nothing.

        Raises:
            IdempotencyConflict: the tenant used this key before for another cost.
        """
        keys = (f"{USAGE_PREFIX}{{{tenant_id}}}:{idempotency_key}".encode(),)
        return await within(PATIENCE, self._count(tenant_id, keys, min(cost, LARGEST_COUNT)))

    async def clear(self, tenant_id: str | None) -> None:
        """Forget rate and burst state and the day's counts of one tenant, or of all for None.

        All of them takes as long as it takes, and goes on where the one who asked leaves.
        """
        if tenant_id is None:
            await self._sweeper.sweep()
        else:
            await within(PATIENCE, self._clear(_key(tenant_id)))

    async def _connect(self) -> None:
        for link in await self._translating(self._servers.links()):
            await self._translating(link.ask(_PING))

    async def _count(self, tenant_id: str, keys: tuple[bytes, ...], cost: bytes | int) -> Usage:
        conflict, requests, spent = await self._run(self._usage, (_key(tenant_id), *keys), cost)
        if conflict:
            raise IdempotencyConflict("this idempotency key was used before for another cost")
        return Usage(requests_today=requests, cost_today=spent)

    async def _clear(self, key: bytes) -> None:
        await self._translating(self._servers.ask(key, packed(b"UNLINK", key)))

    async def _run(self, script: _Script, keys: tuple[bytes, ...], *arguments: bytes | int) -> Reply:
        """Run a script where the first key is kept."""
        if self._now is not None:
            arguments = (*arguments, self._now())
        try:
            try:
                return await self._servers.ask(keys[0], script.by_digest(keys, arguments))
            except NoScriptError:  # nothing was run
                return await self._servers.ask(keys[0], script.whole(keys, arguments))
        except RedisError as error:
            raise translated(error, self._where) from None

    async def _translating(self, asking: Awaitable[T]) -> T:
        try:
            return await asking
        except RedisError as error:
            raise translated(error, self._where) from None


def _key(tenant_id: str) -> bytes:
    return f"{PREFIX}{{{tenant_id}}}".encode()


def _limit(limit: int | None) -> bytes | int:
    return _NONE if limit is None else limit


def _result(charge: Charge, reply: list[int]) -> ChargeResult:
    """The answer from the counts before the charge. The script and this go by the same arithmetic."""
    passed, to_midnight, requests, cost, rate, burst, rate_ahead, burst_ahead = reply
    limits = charge.limits
    exceeded = over_limits(charge, requests, cost, rate, burst, to_midnight)
    if passed:
        requests, cost = saturated(requests, 1), saturated(cost, charge.cost)
        if limits.rate is not None:
            rate = charged(rate, limits.rate, RATE_PERIOD_US)
        if limits.burst is not None:
            burst = charged(burst, limits.burst, BURST_PERIOD_US)
    result = answer(exceeded, limits, requests, cost, rate, burst, passed=bool(passed))
    return _standing_still(result, rate_ahead, burst_ahead) if rate_ahead or burst_ahead else result


def _standing_still(result: ChargeResult, rate_ahead: int, burst_ahead: int) -> ChargeResult:
    """Add for how long the buckets do not refill: this server's clock has yet to reach the time that is stored."""
    ahead = {Dimension.RATE: rate_ahead, Dimension.BURST: burst_ahead}
    exceeded = tuple(replace(each, wait_us=each.wait_us + ahead.get(each.dimension, 0)) for each in result.exceeded)
    rate = result.rate
    if rate is not None and rate.reset_us:
        rate = replace(rate, reset_us=rate.reset_us + rate_ahead)
    return replace(result, exceeded=exceeded, rate=rate)
