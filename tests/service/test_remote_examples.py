"""The two examples as their readers run them: installed or compiled, tested, and behind a whole service."""

import asyncio
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from extauthz.model.billing import BillingRecord, BillingState
from extauthz.model.lifecycle import LifecycleRecord, LifecycleState, Onboarding
from extauthz.providers.remote import RemoteStore
from tests import remote_bench as bench
from tests.served import served

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples"
PLUGIN = """
providers:
  credentials: {url: "memory:"}
  lifecycle: {url: "memory:"}
  billing: {url: "acme-crm://127.0.0.1:%d"}
  events: {url: "none:"}
"""
PATIENCE = 60.0


def run(command: list[str], cwd: Path, env: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | dict(env or {}),
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def copied(name: str, folder: Path) -> Path:
    return shutil.copytree(EXAMPLES / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))


PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]


# In Python


def test_the_python_provider_passes_its_own_tests(tmp_path: Path) -> None:
    run(PYTEST, copied("python_provider", tmp_path))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the example is installed, entry point and all."""
    folder = tmp_path_factory.mktemp("example")
    target = folder / "installed"
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", "--quiet", *offline, "--target", str(target)]
    run([*command, str(copied("python_provider", folder))], folder)
    return target


@asynccontextmanager
async def crm(customers: dict[str, dict[str, str]]) -> AsyncIterator[int]:
    async def customer(request: web.Request) -> web.Response:
        found = customers.get(request.match_info["id"])
        return web.json_response(found or {"error": "no_such_customer"}, status=200 if found else 404)

    app = web.Application()
    app.router.add_get("/customers/{id}", customer)
    async with TestServer(app) as server:
        assert server.port is not None
        yield server.port


async def test_the_python_provider_behind_a_service(tmp_path: Path, installed: Path) -> None:
    answers = {}
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(crm({"acme": {"status": "paying"}, "globex": {"status": "blocked"}}))
        configuration = PLUGIN % port
        service = await stack.enter_async_context(served(tmp_path, configuration, {"PYTHONPATH": str(installed)}))
        for tenant_id in ("acme", "globex"):
            new = {"id": tenant_id, "onboarding": "COMPLETE", "reason": "test"}
            await service.admin("POST", "/tenants", new)
            status, content = await service.admin("POST", f"/tenants/{tenant_id}/keys", {"reason": "test"})
            assert status == 201, content
            answers[tenant_id] = (await service.check(content["key"])).answer
        status, content = await service.admin("PUT", "/tenants/acme/billing", {"state": "TRIAL", "reason": "test"})
    assert answers["acme"].allowed
    assert answers["acme"].headers["x-tenant-billing"] == "ACTIVE"
    assert (answers["globex"].http_status, answers["globex"].body["reason"]) == (402, "suspended")
    assert (status, content["error"]) == (501, "not_supported")


# Over gRPC, in an environment that has no extauthz


def without_extauthz(compiled: Path) -> tuple[list[str], dict[str, str]]:
    """A Python that finds what is installed, but not this package: its place is taken by what protoc made of the contracts."""
    path = os.pathsep.join((str(compiled), sysconfig.get_path("purelib")))
    return [sys.executable, "-S"], {"PYTHONPATH": path}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example with the contracts compiled beside it, as its first lines say."""
    folder = copied("grpc_provider", tmp_path_factory.mktemp("example"))
    protos = [str(path) for path in sorted((ROOT / "protos/extauthz/provider/v1").glob("*.proto"))]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(ROOT / "protos")]
    run([*command, "--python_out=.", "--grpc_python_out=.", *protos], folder)
    return folder


def test_the_grpc_provider_passes_its_own_tests(compiled: Path) -> None:
    python, env = without_extauthz(compiled)
    run([*python, *PYTEST[1:]], compiled, env)


def test_the_grpc_provider_is_small() -> None:
    assert len((EXAMPLES / "grpc_provider/server.py").read_text().splitlines()) < 100


@asynccontextmanager
async def example_server(folder: Path) -> AsyncIterator[RemoteStore]:
    python, env = without_extauthz(folder)
    process = await asyncio.create_subprocess_exec(
        *python,
        "server.py",
        bench.LISTEN,
        "tenants.json",
        cwd=folder,
        env=os.environ | env,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            port = (await process.stdout.readline()).decode().split()[-1]
        async with bench.asking(f"grpc://127.0.0.1:{port}") as store:
            yield store
    finally:
        process.terminate()
        await process.stdout.read()
        await process.wait()


async def test_the_grpc_provider_is_understood(compiled: Path) -> None:
    async with example_server(compiled) as store:
        found = {tenant_id: await store.find_lifecycle(tenant_id) for tenant_id in ("acme", "globex", "initech", "x")}
        standing = {tenant_id: await store.find_billing(tenant_id) for tenant_id in ("acme", "globex", "initech", "x")}
    active, suspended, complete = LifecycleState.ACTIVE, LifecycleState.SUSPENDED, Onboarding.COMPLETE
    assert found == {
        "acme": LifecycleRecord(state=active, onboarding=complete),
        "globex": LifecycleRecord(state=active, onboarding=Onboarding.PENDING),
        "initech": LifecycleRecord(state=suspended, onboarding=complete),
        "x": None,
    }
    assert standing == {
        "acme": BillingRecord(state=BillingState.ACTIVE, plan_id="pro"),
        "globex": None,
        "initech": BillingRecord(state=BillingState.PAST_DUE),
        "x": None,
    }
