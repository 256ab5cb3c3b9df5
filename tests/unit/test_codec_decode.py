"""Bytes of a CheckRequest, built by an independent library, to the model."""

import pytest
from envoy_data_plane.envoy.config.core.v3 import Address, EnvoyInternalAddress, Metadata, Pipe, SocketAddress
from envoy_data_plane.envoy.service.auth.v3 import AttributeContextHttpRequest
from hypothesis import given
from hypothesis import strategies as st

from extauthz._gen.wire.v3 import external_auth_pb2 as wire
from extauthz.model.decision import Gate, Reason
from extauthz.model.request import CheckRequest
from extauthz.server.decode import JWT_FILTER, MAX_REQUEST_ID, MalformedMessage, decode, fault
from tests import oracle

NAMES = st.text(st.characters(codec="ascii", categories=["Ll", "Nd"], include_characters="-:"), min_size=1, max_size=20)
VALUES = st.text(st.characters(codec="utf-8"), max_size=50)


def reason_of(request: CheckRequest) -> Reason:
    denial = fault(request)
    assert denial is not None
    assert denial.gate is Gate.REQUEST
    return denial.reason


def test_a_request_as_envoy_sends_it() -> None:
    headers = {":method": "POST", "x-api-key": "exak_1", "x-request-id": "r-1"}
    address = Address(socket_address=SocketAddress(address="10.1.2.3", port_value=40000))
    sent = oracle.check_request(
        oracle.http_request(headers, method="POST", path="/api/v1/runs?x=1"),
        address=address,
        principal="spiffe://cluster/ns/a",
        extensions={"extauthz.class": "sdk"},
    )
    assert decode(sent, trusted_transport=True) == CheckRequest(
        method="POST",
        path="/api/v1/runs?x=1",
        headers=headers,
        context_extensions={"extauthz.class": "sdk"},
        request_id="r-1",
        source_address="10.1.2.3",
        source_principal="spiffe://cluster/ns/a",
        verified_claims={},
        trusted_transport=True,
    )


@given(st.dictionaries(NAMES, VALUES, max_size=20))
def test_headers_arrive_as_they_were_sent(headers: dict[str, str]) -> None:
    assert decode(oracle.message(headers)).headers == headers


@given(st.dictionaries(NAMES, VALUES, min_size=1, max_size=10))
def test_both_forms_of_headers_read_the_same(headers: dict[str, str]) -> None:
    raw = [(name, value.encode()) for name, value in headers.items()]
    listed = decode(oracle.check_request(oracle.http_request(raw_headers=raw)))
    assert listed.headers == headers == decode(oracle.message(headers)).headers


def test_several_values_of_one_name_are_joined_as_envoy_does() -> None:
    raw = [("x-api-key", b"a"), ("accept", b"*/*"), ("X-Api-Key", b"b")]
    assert decode(oracle.check_request(oracle.http_request(raw_headers=raw))).headers == {
        "x-api-key": "a,b",
        "accept": "*/*",
    }


def test_a_listed_header_may_have_a_text_instead_of_bytes() -> None:
    request = wire.CheckRequest()
    request.attributes.request.http.header_map.headers.add(key="x-api-key", value="a")
    assert decode(request.SerializeToString()).headers == {"x-api-key": "a"}


@pytest.mark.parametrize(
    ("raw", "read"),
    [(b"k\xffy", "k!y"), (b"\xe2\x82", "!!"), (b"\xc3\xa9", "é"), (b"\xed\xa0\x80", "!!!"), (b"", "")],
)
def test_bytes_that_are_not_utf8_become_exclamation_marks(raw: bytes, read: str) -> None:
    sent = oracle.check_request(oracle.http_request(raw_headers=[("x-api-key", raw)]))
    assert decode(sent).headers == {"x-api-key": read}


def test_the_exclamation_mark_is_for_reading_only() -> None:
    assert decode(oracle.message()).method == "POST"  # the way of reading is registered
    with pytest.raises(UnicodeEncodeError):
        "\ud800".encode("utf-8", "extauthz.envoy")


def test_upper_case_names_are_lowered_and_merged() -> None:
    headers = {"X-Api-Key": "a", "x-api-key": "b", "Accept": "*/*"}
    read = decode(oracle.message(headers)).headers
    assert sorted(read) == ["accept", "x-api-key"]
    assert sorted(read["x-api-key"].split(",")) == ["a", "b"]


@pytest.mark.parametrize(
    ("address", "read"),
    [
        (None, ""),
        (Address(), ""),
        (Address(socket_address=SocketAddress(address="2001:db8::1", port_value=1)), "2001:db8::1"),
        (Address(pipe=Pipe(path="/run/envoy.sock")), "unix:/run/envoy.sock"),
        (Address(envoy_internal_address=EnvoyInternalAddress(server_listener_name="inner")), "internal:inner"),
    ],
)
def test_every_form_of_a_source_address(address: Address | None, read: str) -> None:
    assert decode(oracle.check_request(oracle.http_request(), address=address)).source_address == read


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        ("4a9f54a6-8b3f-4e34", "4a9f54a6-8b3f-4e34"),
        ("x" * MAX_REQUEST_ID, "x" * MAX_REQUEST_ID),
        ("x" * (MAX_REQUEST_ID + 1), ""),
        ("a\nb", ""),
        ("é", ""),
        ("", "8811"),
    ],
)
def test_a_request_id_is_kept_only_if_it_can_be_shown(header: str, kept: str) -> None:
    assert decode(oracle.message({"x-request-id": header})).request_id == kept


def test_without_a_header_envoys_own_id_is_the_request_id() -> None:
    assert decode(oracle.message()).request_id == "8811"


def test_claims_that_envoy_verified() -> None:
    claims = {"issuer": {"sub": "ada", "aud": ["a", "b"], "exp": 1.5, "admin": True, "nothing": None}}
    metadata = Metadata(filter_metadata={JWT_FILTER: oracle.struct_of(claims), "other": oracle.struct_of({"a": "b"})})
    assert decode(oracle.check_request(oracle.http_request(), metadata=metadata)).verified_claims == claims


def test_metadata_of_other_filters_are_no_claims() -> None:
    metadata = Metadata(filter_metadata={"other": oracle.struct_of({"sub": "ada"})})
    assert decode(oracle.check_request(oracle.http_request(), metadata=metadata)).verified_claims == {}


def test_an_empty_message_says_nothing() -> None:
    assert reason_of(decode(b"")) is Reason.MESSAGE


def test_a_message_without_http_says_nothing() -> None:
    request = wire.CheckRequest()
    request.attributes.source.principal = "spiffe://a"
    assert reason_of(decode(request.SerializeToString())) is Reason.MESSAGE


def test_a_request_without_a_method_says_nothing() -> None:
    assert reason_of(decode(oracle.message(method=""))) is Reason.MESSAGE


def test_a_request_without_a_path_has_no_path() -> None:
    assert reason_of(decode(oracle.message(path=""))) is Reason.PATH


def test_a_request_without_headers_is_whole() -> None:
    request = decode(oracle.message({}))
    assert request.headers == {}
    assert fault(request) is None


def test_a_long_path_arrives_whole() -> None:
    path = "/" + "a" * 50_000
    assert decode(oracle.message(path=path)).path == path


def test_what_is_not_declared_is_skipped() -> None:
    http = AttributeContextHttpRequest(method="GET", path="/", body="x" * 1000, size=1000, query="a=b", fragment="f")
    unknown = b"\xfa\x06\x03abc"  # field 111, three bytes
    request = decode(oracle.check_request(http) + unknown)
    assert (request.method, request.path) == ("GET", "/")


@pytest.mark.parametrize("garbage", [b"\xff\xff", b"\x0a", b"\x0a\x05abc", b"GET / HTTP/1.1\r\n\r\n", b"\x00"])
def test_bytes_that_are_no_message(garbage: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode(garbage)


def test_text_that_is_not_utf8_is_no_message() -> None:
    sent = oracle.message({"x-api-key": "PLACE"}).replace(b"PLACE", b"PL\xff\xffE")
    with pytest.raises(MalformedMessage):
        decode(sent)


def test_a_message_cut_short_is_no_message_or_says_less() -> None:
    whole = oracle.message({"x-api-key": "exak_1"})
    refused = 0
    for end in range(len(whole)):
        try:
            decode(whole[:end])
        except MalformedMessage:
            refused += 1
    assert refused >= len(whole) - 2


def deep(levels: int) -> bytes:
    metadata = wire.CheckRequest()
    value = metadata.attributes.metadata_context.filter_metadata[JWT_FILTER].fields["a"]
    for _ in range(levels):
        value = value.list_value.values.add()
    value.string_value = "end"
    return metadata.SerializeToString()


def test_claims_nested_too_deep_are_no_message() -> None:
    assert decode(deep(10)).verified_claims["a"] == [[[[[[[[[["end"]]]]]]]]]]
    with pytest.raises(MalformedMessage):
        decode(deep(200))


@given(st.binary(max_size=300))
def test_whatever_the_bytes_nothing_else_is_raised(noise: bytes) -> None:
    try:
        request = decode(noise)
    except MalformedMessage:
        return
    assert isinstance(request, CheckRequest)


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=4))
def test_whatever_is_damaged_nothing_else_is_raised(place: int, damage: bytes) -> None:
    whole = oracle.message({"x-api-key": "exak_1", "X-Upper": "é"})
    place %= len(whole)
    try:
        fault(decode(whole[:place] + damage + whole[place + len(damage) :]))
    except MalformedMessage:
        return
