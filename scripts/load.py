"""A closed loop of checks from many tenants: the load generator of scripts/bench where one message for all will not do.

    python scripts/load.py --port 9191 --keys keys.txt --seconds 5

Each of `--streams` callers takes the next key, sends a Check, waits for the answer. Prints one line of JSON.
"""

import argparse
import asyncio
import itertools
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import orjson

from extauthz._gen.wire.v3 import external_auth_pb2 as wire

METHOD = "/envoy.service.auth.v3.Authorization/Check"
WARM_UP = 1.0


def request_message(key: str) -> bytes:
    """A CheckRequest of about 600 bytes with 15 headers, as Envoy sends for an API call."""
    headers = {
        ":authority": "api.example.com",
        ":method": "POST",
        ":path": "/api/v1/runs?page=2",
        ":scheme": "https",
        "accept": "application/json",
        "accept-encoding": "gzip, deflate, br",
        "content-length": "512",
        "content-type": "application/json",
        "user-agent": "acme-sdk/1.4 python/3.12",
        "x-api-key": key,
        "x-envoy-external-address": "203.0.113.7",
        "x-forwarded-for": "203.0.113.7",
        "x-forwarded-proto": "https",
        "x-request-id": "0f4ab1c5-93e4-4b31-a8f7-6c9b8b0e9d11",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    }
    message = wire.CheckRequest()
    http = message.attributes.request.http
    http.method, http.path, http.scheme, http.id = "POST", headers[":path"], "https", "4611686018427387904"
    http.headers.update(headers)
    return bytes(message.SerializeToString(deterministic=True))


def each_once(keys: list[str]) -> Iterator[bytes]:
    """A message for each key. All keys have the same length, so a message is a template with another key in it."""
    head, _, tail = request_message(keys[0]).partition(keys[0].encode())
    return (head + key.encode() + tail for key in keys)


def messages(keys: list[str], *, zipf: float | None) -> Iterator[bytes]:
    """One message after the other, for keys drawn at random: all alike, or the n-th with a weight of 1 / n ** `zipf`."""
    head, _, tail = request_message(keys[0]).partition(keys[0].encode())
    weights = None if zipf is None else list(itertools.accumulate(1 / n**zipf for n in range(1, len(keys) + 1)))
    while True:
        for key in random.choices(keys, cum_weights=weights, k=10_000):  # noqa: S311 - a draw, no secret
            yield head + key.encode() + tail


async def load(port: int, stream: Iterator[bytes], seconds: float, streams: int) -> dict[str, float]:
    """Checks a second, and how many were denied, after a warm-up of a second; with 0 seconds until the stream ends."""
    done = denied = 0
    begin = time.monotonic() + WARM_UP
    end = begin + (seconds or 1e9)

    async def caller(call: "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]") -> None:
        nonlocal done, denied
        for message in stream:
            now = time.monotonic()
            if now >= end:
                return
            answer = await call(message, timeout=30.0)
            if now >= begin:
                done += 1
                denied += not allowed(answer)

    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        await asyncio.gather(*(caller(call) for _ in range(streams)))
    return {"rate": done / (seconds or max(1e-9, time.monotonic() - begin)), "denied": denied}


def allowed(answer: bytes) -> bool:
    """Whether an answer lets the request through."""
    return wire.CheckResponse.FromString(answer).status.code == 0


def main() -> None:
    """Run one load."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--keys", type=Path, required=True, help="API keys, one a line")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--zipf", type=float, help="draw keys by Zipf's law with this exponent (default: all alike)")
    parser.add_argument("--each-once", action="store_true", help="one check for each key, in order, then end")
    given = parser.parse_args()
    keys = given.keys.read_text().split()
    stream = each_once(keys) if given.each_once else messages(keys, zipf=given.zipf)
    found = asyncio.run(load(given.port, stream, 0 if given.each_once else given.seconds, given.streams))
    sys.stdout.buffer.write(orjson.dumps(found) + b"\n")


if __name__ == "__main__":
    main()
