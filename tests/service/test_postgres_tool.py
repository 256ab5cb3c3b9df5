"""The server that tests use: nothing of it outlives them, however they end."""

import subprocess
import sys
from pathlib import Path
from time import monotonic

from tests.postgres import PostgresServer

FROZEN_AND_KILLED = """
import os, signal
from tests.postgres import PostgresServer
server = PostgresServer()
server.start()
server.freeze()
print(server.home, *server.pids(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def is_alive(pid: str) -> bool:
    try:
        return "postgres" in Path("/proc", pid, "comm").read_text()
    except OSError:
        return False


def test_a_frozen_server_ends_with_a_test_process_that_is_killed() -> None:
    done = subprocess.run([sys.executable, "-c", FROZEN_AND_KILLED], check=False, capture_output=True, text=True)
    home, *pids = done.stdout.split()
    assert len(pids) > 1
    until = monotonic() + 20
    while Path(home).exists() or any(map(is_alive, pids)):
        assert monotonic() < until, "something was left behind"


def test_a_server_can_be_killed_and_comes_back_with_its_data_on_the_same_port() -> None:
    with PostgresServer() as server:
        url, port = server.empty_database(), server.port
        server.sql("CREATE TABLE x AS SELECT 1 AS a", url)
        for end in (server.kill, server.stop):
            end()
            assert not server.pids()
            server.start()
            assert server.port == port
            assert server.sql("SELECT a FROM x", url) == ["1"]
        server.freeze()
        server.thaw()
        assert server.sql("SELECT a FROM x", url) == ["1"]
        home = server.home
    assert not home.exists()
