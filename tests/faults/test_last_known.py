"""What is last known holds in an outage: over a restart too, and whatever the caller's patience. Real processes, real servers."""

import asyncio
import signal
import stat
from pathlib import Path

from tests.outage import configuration
from tests.postgres import PostgresServer
from tests.served import Served, eventually, served


def kept(folder: Path) -> str:
    file = folder / "extauthz.blocked"
    return file.read_text() if file.exists() else ""


async def is_kept(folder: Path, tenant_id: str, state: str) -> None:
    async def holds() -> bool:
        return f'"{tenant_id}","{state}"' in kept(folder)

    await eventually(holds)


async def moved(replica: Served, tenant_id: str, to: str) -> None:
    status, content = await replica.admin("POST", f"/tenants/{tenant_id}/lifecycle", {"to": to, "reason": "test"})
    assert status in (200, 202), content


async def blocked(replica: Served, key: str) -> str:
    """Why a key's tenant is out; empty where it is in. The age of what that rests on goes on over a restart."""
    answer = (await replica.check(key)).answer
    if answer.allowed:
        return ""
    assert (answer.http_status, answer.body["error"]) == (403, "lifecycle_blocked")
    return str(answer.body["reason"])


async def test_restart_cold_in_the_middle_of_an_outage_tenants_that_were_not_active_stay_out(tmp_path: Path) -> None:
    with PostgresServer() as postgres:
        url = postgres.new_database()
        with_state_there = configuration(url, "memory:")
        async with served(tmp_path, with_state_there) as replica:
            keys = {name: await replica.tenant(name) for name in ("active", "suspended", "ended", "back")}
            others = await replica.tenant("never-asked-for")
            await moved(replica, "suspended", "SUSPENDED")
            await moved(replica, "ended", "SUSPENDED")
            await moved(replica, "back", "SUSPENDED")
            await moved(replica, "back", "ACTIVE")
            await is_kept(tmp_path, "ended", "SUSPENDED")
            replica.process.send_signal(signal.SIGKILL)  # no last word: the file is there already
        # Keys are in a file here and outlive a termination of their tenant made elsewhere.
        postgres.sql(
            "UPDATE extauthz.tenants SET state = 'TERMINATED' WHERE tenant_id IN ('ended', 'never-asked-for')", url
        )
        async with served(tmp_path, with_state_there):
            await is_kept(tmp_path, "never-asked-for", "TERMINATED")
            await is_kept(tmp_path, "ended", "TERMINATED")
        assert stat.S_IMODE((tmp_path / "extauthz.blocked").stat().st_mode) == 0o600
        await asyncio.sleep(1.0)
        postgres.kill()
        async with served(tmp_path, with_state_there) as replica:
            for _ in range(3):
                assert await blocked(replica, keys["suspended"]) == "suspended"
                assert await blocked(replica, keys["ended"]) == "terminated"
                assert await blocked(replica, others) == "terminated"
                assert await blocked(replica, keys["active"]) == ""
                assert await blocked(replica, keys["back"]) == ""
            found = (await replica.check(keys["suspended"])).answer.metadata["lifecycle"]
            assert found["source"] == "stale"  # type: ignore[index]  # the oracle's plain object
            assert 1_000 <= float(found["age_ms"]) < 60_000  # type: ignore[index]  # see above
            reads = (await replica.check(keys["suspended"], method="GET", path="/api/v1/things")).answer
            assert reads.allowed
            assert reads.headers["x-tenant-lifecycle"] == "SUSPENDED"
            assert await replica.metric("provider_cache_requests_total", provider="lifecycle", result="stale") >= 9
            postgres.start()
            postgres.sql("UPDATE extauthz.tenants SET state = 'ACTIVE' WHERE tenant_id = 'suspended'", url)

            async def is_back() -> bool:
                return await blocked(replica, keys["suspended"]) == ""

            await eventually(is_back)
            assert await blocked(replica, keys["ended"]) == "terminated"

            async def left() -> bool:
                return "suspended" not in kept(tmp_path)

            await eventually(left)
