"""64 callers in two processes and one Redis: N + elapsed * N / period come through, exactly."""

import json
import subprocess
import sys

from tests.redis_server import single

PER_MINUTE = 1_200
MINUTE_US = 60_000_000
SECONDS = "2.0"


def start(url: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.redis_callers", url, str(PER_MINUTE), "32", SECONDS]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_what_comes_through_is_n_and_what_the_time_refills() -> None:
    with single() as server:
        processes = [start(server.url) for _ in range(2)]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        told = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    passed = sum(each["passed"] for each in told)
    longest = max(each["after_last"] for each in told) - min(each["before_first"] for each in told)
    # Between the first charge and a refusal after `before_last`, with no pause of a whole minute, nothing was lost.
    shortest = max(each["before_last"] for each in told) - min(each["after_first"] for each in told)
    assert shortest >= 1_500_000
    assert passed <= PER_MINUTE + longest * PER_MINUTE / MINUTE_US
    assert passed >= PER_MINUTE + shortest * PER_MINUTE / MINUTE_US - 1
    assert min(each["passed"] for each in told) > 0
