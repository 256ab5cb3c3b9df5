"""Callers of one limit in a process of their own: `python -m tests.redis_callers URL PER_MINUTE CALLERS SECONDS`.

They begin when a line comes in, ask without a pause, and end with a refusal each once the time is up. Printed as JSON: how
many were let through, and moments on Redis's own clock in microseconds: before and after the first charge, before and after
the last.
"""

import asyncio
import json
import sys

from extauthz.model.billing import Limits
from extauthz.model.protection import Charge, Dimension
from extauthz.providers.redis_pack import packed
from extauthz.providers.redis_protection import RedisProtection

TENANT = "acme"


async def moment(provider: RedisProtection) -> int:
    seconds, micros = await provider._servers.ask(b"{acme}", packed(b"TIME"))
    return int(seconds) * 1_000_000 + int(micros)


async def run(url: str, per_minute: int, callers: int, seconds: float) -> dict[str, int]:
    provider = RedisProtection(url, timeout=10.0)
    ask = Charge(tenant_id=TENANT, limits=Limits(rate=per_minute), blocking=frozenset({Dimension.RATE}))
    await provider.start()
    await moment(provider)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)
    before_first = await moment(provider)
    passed = int((await provider.charge(ask)).charged)
    after_first = await moment(provider)
    stop = asyncio.get_running_loop().time() + seconds
    before_last = 0

    async def caller() -> int:
        nonlocal before_last
        count = 0
        while asyncio.get_running_loop().time() < stop:
            count += (await provider.charge(ask)).charged
        before_last = max(before_last, await moment(provider))
        while (await provider.charge(ask)).charged:
            count += 1
        return count

    passed += sum(await asyncio.gather(*(caller() for _ in range(callers))))
    after_last = await moment(provider)
    await provider.close()
    return {
        "passed": passed,
        "before_first": before_first,
        "after_first": after_first,
        "before_last": before_last,
        "after_last": after_last,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))))
