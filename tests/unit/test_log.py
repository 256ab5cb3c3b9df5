"""Logs: readable or JSON, at most a line for a denial, and no secret (spec section 6.4)."""

import json
import logging
import os
import threading
from io import StringIO

import pytest
import structlog

from extauthz.errors import ConfigError
from extauthz.model.decision import Decision, Denial, Facts, Gate, Reason
from extauthz.model.request import CheckRequest
from extauthz.telemetry.log import configured
from extauthz.telemetry.log_denials import DenialLog
from extauthz.telemetry.log_handler import BackgroundHandler
from extauthz.telemetry.text import MAX_LENGTH, client_path, client_text, trace_id
from extauthz.testing.builders import make_principal, make_request
from extauthz.testing.clock import FakeClock

SECRET = "exak_" + "a" * 24 + "_" + "q" * 52
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"


def denied(reason: Reason = Reason.INVALID_CREDENTIALS, note: str = "") -> Decision:
    denial = Denial(gate=Gate.AUTH, reason=reason, note=note)
    return Decision(decision_id="d-1", denial=denial, route=None, facts=Facts(principal=make_principal("acme")))


def logged(*decisions: tuple[CheckRequest | None, Decision], form: str = "json") -> str:
    out = StringIO()
    with configured("INFO", form, out):
        log = DenialLog(clock=FakeClock())
        for request, decision in decisions:
            log.checked(request, decision, 0.0015)
    return out.getvalue()


def test_a_denial_is_one_json_line_on_a_pipe() -> None:
    line = json.loads(logged((make_request("/x?y=1"), denied(note="revoked"))))
    told = {key: line[key] for key in ("event", "level", "gate", "reason", "note", "tenant_id", "path", "latency_ms")}
    assert told == {
        "event": "denied",
        "level": "info",
        "gate": "auth",
        "reason": "invalid_credentials",
        "note": "revoked",
        "tenant_id": "acme",
        "path": "/x",
        "latency_ms": 1.5,
    }


def test_on_a_terminal_it_is_readable() -> None:
    assert "denied" in logged((make_request(), denied()), form="console")
    with pytest.raises(json.JSONDecodeError):
        json.loads(logged((make_request(), denied()), form="console"))


def test_an_allow_is_no_line_and_what_is_ours_is_louder() -> None:
    assert logged((make_request(), Decision(decision_id="d", denial=None, route=None))) == ""
    assert json.loads(logged((None, denied(Reason.PROVIDER_UNAVAILABLE))))["level"] == "warning"


def test_a_flood_of_denials_is_a_few_lines_and_a_count() -> None:
    out, clock = StringIO(), FakeClock()
    with configured("INFO", "json", out):
        log = DenialLog(clock=clock, per_second=10, burst=50)
        for _ in range(1000):
            log.checked(make_request(), denied(), 0.001)
        clock.advance(0.1)
        log.checked(make_request(), denied(), 0.001)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert len(lines) == 51
    assert lines[-1]["suppressed"] == 950


@pytest.mark.parametrize("secret", [SECRET, JWT, f"Bearer {JWT}", "Basic dXNlcjpwYXNz"])
@pytest.mark.parametrize("form", ["json", "console"])
def test_no_secret_shows_wherever_a_client_puts_it(secret: str, form: str) -> None:
    headers = {"x-api-key": secret, "authorization": secret, "cookie": secret}
    request = CheckRequest(
        method=secret, path=f"/{secret}/x?key={secret}", headers=headers, request_id=secret, source_address=secret
    )
    text = logged((request, denied()), form=form)
    assert "denied" in text
    assert secret.rpartition("_")[2].rpartition(" ")[2] not in text


def test_no_secret_shows_in_an_exception_or_a_nested_value() -> None:
    out = StringIO()
    with configured("INFO", "json", out):
        log = structlog.get_logger("test")
        log.warning("x", nested={"a": [SECRET, 1, None]}, other=ValueError(SECRET))
        try:
            int(SECRET)
        except ValueError:
            log.exception("y")
        logging.getLogger("library").warning("%s", SECRET)
    assert SECRET not in out.getvalue()
    assert out.getvalue().count("***") >= 4


@pytest.mark.parametrize(("level", "form", "named"), [("LOUD", "auto", "LOG_LEVEL"), ("INFO", "xml", "LOG_FORMAT")])
def test_a_level_or_form_that_is_not_known_says_what_is(level: str, form: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named), configured(level, form):
        pass


def test_a_level_hides_what_is_below_it() -> None:
    out = StringIO()
    with configured("error", "json", out):
        structlog.get_logger("test").warning("hidden")
        structlog.get_logger("test").error("shown")
    assert "hidden" not in out.getvalue()
    assert "shown" in out.getvalue()


def test_a_reader_that_stopped_reading_costs_lines_and_no_time() -> None:
    read = threading.Event()

    class Stuck(StringIO):
        def write(self, text: str) -> int:
            read.wait(10)
            return super().write(text)

    handler = BackgroundHandler(Stuck(), max_lines=2)
    for number in range(10):
        handler.emit(logging.makeLogRecord({"msg": str(number)}))
    assert handler.lost >= 6
    read.set()
    handler.close()


def test_lines_reach_a_pipe_whole() -> None:
    read, write = os.pipe()
    with os.fdopen(write, "w") as stream:
        handler = BackgroundHandler(stream)
        handler.emit(logging.makeLogRecord({"msg": "one é \ud800"}))
        handler.emit(logging.makeLogRecord({"msg": "two"}))
        handler.close()
    with os.fdopen(read, "rb") as received:
        assert received.read() == b"one \xc3\xa9 \\ud800\ntwo\n"


def test_the_end_does_not_wait_for_a_reader_that_is_stuck() -> None:
    read = threading.Event()
    reached = threading.Event()

    class Stuck(StringIO):
        def write(self, text: str) -> int:
            reached.set()
            read.wait(10)
            return super().write(text)

    handler = BackgroundHandler(Stuck(), max_lines=1)
    handler.emit(logging.makeLogRecord({"msg": "one"}))
    assert reached.wait(10)
    handler.emit(logging.makeLogRecord({"msg": "two"}))
    handler.close()
    assert handler.lost == 1
    read.set()


def test_arguments_that_do_not_fit_are_reported_as_logging_does(capsys: pytest.CaptureFixture[str]) -> None:
    handler = BackgroundHandler(StringIO())
    handler.emit(logging.makeLogRecord({"msg": "%d", "args": ("x",)}))
    handler.close()
    assert "--- Logging error ---" in capsys.readouterr().err


def test_a_line_that_cannot_be_made_or_written_is_no_reason_to_fail() -> None:
    class Gone(StringIO):
        def write(self, _text: str) -> int:
            raise OSError

    handler = BackgroundHandler(Gone())
    handler.emit(logging.makeLogRecord({"msg": "x"}))
    handler.close()
    assert handler.lost == 1


def test_client_text_is_short_printable_and_masked() -> None:
    assert client_text("a\r\nb\x00é") == "a\\r\\nb\\x00\\xe9"
    assert len(client_text("x" * 50_000)) == MAX_LENGTH
    assert client_text(f"a {SECRET} b") == "a *** b"
    assert client_path("/a#b?c") == "/a"


@pytest.mark.parametrize(
    ("header", "expected"),
    [("00-" + "a" * 32 + "-" + "b" * 16 + "-01", "a" * 32), ("00-" + "0" * 32 + "-" + "b" * 16 + "-01", ""), ("x", "")],
)
def test_a_trace_id_is_taken_only_from_a_valid_traceparent(header: str, expected: str) -> None:
    assert trace_id(make_request(headers={"traceparent": header})) == expected
