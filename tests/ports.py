"""Ports for servers of tests that come back on the same one."""

import random
import socket
from contextlib import closing, suppress
from typing import Final

HOST: Final = "127.0.0.1"


def free_port() -> int:
    """A port below those that the kernel gives to clients, so that nobody gets it while its server is away."""
    for port in random.sample(range(20_000, 32_000), 100):
        with closing(socket.socket()) as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise RuntimeError("no free port")
