"""The bytes of the wire format against protobuf's own writer."""

from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from extauthz._gen.wire.v3 import external_auth_pb2 as schema
from extauthz.server import wire

TEXT = st.text(st.characters(codec="utf-8"), max_size=300)


@given(st.integers(0, 2**31 - 1))
def test_a_number_of_any_size(number: int) -> None:
    written = wire.tag(1, wire.VARINT) + wire.varint(number)
    assert schema.Status.FromString(written).code == number


@given(TEXT, TEXT)
def test_a_header_of_any_size(name: str, value: str) -> None:
    written = wire.header(wire.tag(2), name, value)
    expected = schema.OkHttpResponse()
    option = expected.headers.add(append_action=schema.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD)
    option.header.key, option.header.value = name, value
    option.append.value = False
    assert schema.OkHttpResponse.FromString(written) == expected


@given(st.dictionaries(TEXT, TEXT, max_size=5), TEXT, st.floats(allow_nan=False))
def test_structs_of_any_size(strings: dict[str, str], name: str, number: float) -> None:
    entries = b"".join(wire.string_entry(wire.text(key), value) for key, value in strings.items())
    entries += wire.number_entry_start(b"\x00number")
    written = wire.struct_entry_start(wire.text(name), entries, 8) + wire.number(number)
    expected = Struct()
    inner = expected.fields[name].struct_value
    for key, value in strings.items():
        inner.fields[key].string_value = value
    inner.fields["\x00number"].number_value = number
    assert Struct.FromString(written) == expected
