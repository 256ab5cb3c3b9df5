"""Where a remote provider is, and what its statuses mean."""

import inspect
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz import errors
from extauthz._gen.provider.v1 import (
    administration_pb2,
    billing_pb2,
    common_pb2,
    credentials_pb2,
    events_pb2,
    lifecycle_pb2,
    protection_pb2,
    replicas_pb2,
)
from extauthz.errors import (
    AlreadyExists,
    BypassRefused,
    ChangeRefused,
    ConfigError,
    ExtauthzError,
    IdempotencyConflict,
    ImportConflict,
    InvalidRecord,
    InvalidTransition,
    NotFound,
    NotSupported,
    ProviderBusy,
    ProviderError,
    ProviderTimeout,
    TenantNotActive,
)
from extauthz.model import trace
from extauthz.providers import remote_rpc
from extauthz.providers.remote import RemoteChannel
from extauthz.providers.remote_errors import Refusal, error_of, refusal_of
from extauthz.providers.remote_rpc import FIND_KEY, Rpc

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


# The table of calls


def test_the_table_of_calls_is_that_of_the_contracts() -> None:
    files = (administration_pb2, billing_pb2, credentials_pb2, events_pb2, lifecycle_pb2, protection_pb2, replicas_pb2)
    contracts = {
        (method.full_name, method.input_type.full_name, method.output_type.full_name)
        for file in files
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    table = {
        (
            each.path.removeprefix("/").replace("/", "."),
            each.request.DESCRIPTOR.full_name,
            each.answer.DESCRIPTOR.full_name,
        )
        for each in vars(remote_rpc).values()
        if isinstance(each, Rpc)
    }
    assert table == contracts
    assert FIND_KEY.path == "/extauthz.provider.v1.CredentialService/FindKey"


def test_the_contracts_compile_for_go_java_and_c_sharp_as_they_are() -> None:
    """protoc-gen-go refuses a file that does not say where its code goes."""
    files = (administration_pb2, billing_pb2, common_pb2, credentials_pb2, events_pb2, lifecycle_pb2, protection_pb2)
    for file in (*files, replicas_pb2):
        options = file.DESCRIPTOR.GetOptions()
        assert options.go_package == "extauthz/provider/v1;providerv1"
        assert (options.java_package, options.java_multiple_files) == ("extauthz.provider.v1", True)
        assert options.csharp_namespace == "Extauthz.Provider.V1"


# Statuses


KEPT = [
    AlreadyExists("there"),
    IdempotencyConflict("used"),
    NotFound("gone"),
    InvalidTransition("no such move"),
    TenantNotActive("suspended"),
    NotSupported("not here"),
    InvalidRecord("damaged"),
    ProviderTimeout("late"),
]


@pytest.mark.parametrize("error", KEPT, ids=lambda error: type(error).__name__)
def test_an_error_arrives_as_what_it_was(error: ExtauthzError) -> None:
    arrived = error_of(refusal_of(error), lookup=False)
    assert (type(arrived), str(arrived)) == (type(error), f'the provider says "{error}"')


@pytest.mark.parametrize("error", [ProviderError("down"), ProviderBusy("full"), ConfigError("odd")])
def test_what_is_no_answer_over_there_is_none_here(error: ExtauthzError) -> None:
    """Also a pool that is used up over there: the circuit that opens is what gives it time to recover."""
    assert type(error_of(refusal_of(error), lookup=False)) is ProviderError


def test_every_refusal_of_ours_has_its_status() -> None:
    """Except for a conflict of an import, which is part of the answer, and of a bypass, which no provider has."""
    others = {ChangeRefused, ImportConflict, BypassRefused}
    refusals = {
        kind
        for kind in vars(errors).values()
        if inspect.isclass(kind) and issubclass(kind, ChangeRefused) and kind not in others
    }
    assert refusals == {type(error) for error in KEPT if isinstance(error, ChangeRefused)}


@pytest.mark.parametrize("lookup", [True, False])
@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
@pytest.mark.parametrize("word", ["", "not_found", "nonsense", "invalid_transition"])
def test_every_status_means_something(code: grpc.StatusCode, word: str, *, lookup: bool) -> None:
    error = error_of(Refusal(code, "", word), lookup=lookup)
    assert str(error)
    if lookup:
        assert isinstance(error, ProviderError | InvalidRecord)
        assert not isinstance(error, ChangeRefused)


@pytest.mark.parametrize(
    ("code", "word", "kind"),
    [
        (grpc.StatusCode.ALREADY_EXISTS, "", AlreadyExists),
        (grpc.StatusCode.ALREADY_EXISTS, "tenant_not_active", AlreadyExists),
        (grpc.StatusCode.ALREADY_EXISTS, "idempotency_key_reused", IdempotencyConflict),
        (grpc.StatusCode.NOT_FOUND, "", NotFound),
        (grpc.StatusCode.FAILED_PRECONDITION, "", InvalidTransition),
        (grpc.StatusCode.FAILED_PRECONDITION, "tenant_not_active", TenantNotActive),
        (grpc.StatusCode.UNIMPLEMENTED, "", NotSupported),
        (grpc.StatusCode.DATA_LOSS, "", InvalidRecord),
        (grpc.StatusCode.INVALID_ARGUMENT, "", InvalidRecord),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "", ProviderTimeout),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "", ProviderError),
        (grpc.StatusCode.PERMISSION_DENIED, "", ProviderError),
        (grpc.StatusCode.UNKNOWN, "not_found", ProviderError),
    ],
)
def test_the_code_decides_and_the_word_tells_apart(code: grpc.StatusCode, word: str, kind: type[Exception]) -> None:
    assert type(error_of(Refusal(code, "text", word), lookup=False)) is kind


@pytest.mark.parametrize("code", [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED])
def test_a_proxy_that_answers_for_a_provider_takes_no_tenant_out_of_service(code: grpc.StatusCode) -> None:
    assert type(error_of(Refusal(code, ""), lookup=True)) is ProviderError


def test_a_long_story_is_cut() -> None:
    assert len(refusal_of(ProviderError("x" * 5_000)).details) == 300
    said = str(error_of(Refusal(grpc.StatusCode.NOT_FOUND, "x" * 5_000), lookup=False))
    assert said == f'the provider says "{"x" * 120}"'


@pytest.mark.parametrize("lookup", [True, False])
@given(details=st.text())
def test_what_a_provider_says_is_quoted_on_one_line(details: str, *, lookup: bool) -> None:
    said = str(error_of(Refusal(grpc.StatusCode.INTERNAL, details), lookup=lookup))
    assert said.isprintable()
    assert len(said) < 160
    assert said == "INTERNAL: INTERNAL" or (said.startswith('INTERNAL: the provider says "') and said.count('"') == 2)


def test_what_cannot_be_shown_is_left_out() -> None:
    details = 'no\r\n\x1b[31m "error"\u202e: ключ\ud800'
    refusal = Refusal(grpc.StatusCode.DATA_LOSS, details)
    assert str(error_of(refusal, lookup=True)) == "the provider says \"no[31m 'error': ключ\""


# Addresses


@pytest.mark.parametrize(
    ("url", "target", "files"),
    [
        ("grpc://localhost:9292", "dns:///localhost:9292", None),
        ("grpc://[::1]:9292/", "dns:///[::1]:9292", None),
        ("grpc:///run/provider.sock", "unix:/run/provider.sock", None),
        ("grpcs://db.example:443", "dns:///db.example:443", {}),
        (
            "grpcs://db.example:443?ca=/etc/ca.pem&cert=c.pem&key=k.pem",
            "dns:///db.example:443",
            {"ca": Path("/etc/ca.pem"), "cert": Path("c.pem"), "key": Path("k.pem")},
        ),
    ],
)
def test_an_address(url: str, target: str, files: dict[str, Path] | None) -> None:
    channel: Any = RemoteChannel(url)
    assert (channel._target, channel._files) == (target, files)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "grpc:",
        "grpc://",
        "grpc:///",
        "grpc://host",
        "grpc://host:0",
        "grpc://host:99999",
        "grpc://host:port",
        "grpc://:9292",
        "grpc://host:9292/path",
        "grpc://host:9292#part",
        "grpc://user:secret@host:9292",
        "grpc://host:9292?ca=x",
        "grpc://[::1:9292",
        "grpcs://host:9292?cert=x",
        "grpcs://host:9292?key=x",
        "grpcs://host:9292?verify=no",
        "grpcs://host:9292?nonsense",
        "grpcs:///run/provider.sock",
        "http://host:9292",
    ],
)
def test_what_is_no_address_is_told_at_start_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        RemoteChannel(url)
    assert "secret" not in str(refused.value)


async def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "ca.pem"
    with pytest.raises(ConfigError, match=r"ca=.*ca\.pem.*No such file"):
        await RemoteChannel(f"grpcs://localhost:1?ca={missing}").start()


# Traces


@given(st.text())
def test_only_a_traceparent_is_passed_on(text: str) -> None:
    with trace.tracing(text):
        assert trace.current.get() == (text if trace.is_traceparent(text) else "")


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        (TRACEPARENT, True),
        (TRACEPARENT.replace("00-", "cc-", 1), True),
        (TRACEPARENT.replace("00-", "ff-", 1), False),
        (TRACEPARENT.upper(), False),
        (f"{TRACEPARENT}\r\nx: y", False),
        (f"{TRACEPARENT}\n", False),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", False),
        (f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01", False),
        ("", False),
    ],
)
def test_the_form_of_a_traceparent(text: str, *, valid: bool) -> None:
    assert trace.is_traceparent(text) is valid


def test_after_the_work_the_trace_is_the_one_before() -> None:
    with trace.tracing(TRACEPARENT):
        with trace.tracing("nonsense"):
            assert trace.current.get() == ""
        assert trace.current.get() == TRACEPARENT
    assert trace.current.get() == ""
