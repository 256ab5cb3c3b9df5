"""The few shapes of protobuf's wire format that an answer is written in.

Writing the bytes costs a tenth of filling message objects, and what does not change between two checks can be kept as bytes.
Each submessage is written once and whole, so that any reader understands it. Field numbers are those of
protos/extauthz/wire/v3; every number used here is below 16, which makes a tag one byte: number * 8 + wire type.
"""

import struct
from functools import lru_cache
from typing import Final

VARINT, DOUBLE, BLOCK = 0, 1, 2

_LOW_BITS: Final = 0x7F
_MORE: Final = 0x80

_pack_double: Final = struct.Struct("<d").pack


def tag(number: int, wire_type: int = BLOCK) -> bytes:
    """The byte before a field. `number` is 1 to 15."""
    return bytes((number << 3 | wire_type,))


def varint(number: int) -> bytes:
    """A number that is not negative, seven bits a byte, lowest first."""
    if number <= _LOW_BITS:
        return bytes((number,))
    return bytes((number & _LOW_BITS | _MORE,)) + varint(number >> 7)


def block(start: bytes, payload: bytes) -> bytes:
    """A submessage, a string or bytes, after its tag."""
    return start + varint(len(payload)) + payload


def text(value: str) -> bytes:
    """UTF-8; what cannot be written in it becomes `?`, for one bad string would make the whole answer unreadable."""
    return value.encode("utf-8", "replace")


# google.protobuf.Struct, whose `fields` are a map: entries of key and value.

_ENTRY: Final = tag(1)
_KEY: Final = tag(1)
_VALUE: Final = tag(2)
_NUMBER: Final = tag(2, DOUBLE)
_STRING: Final = tag(3)
_STRUCT: Final = tag(5)
_DOUBLE_SIZE: Final = 8


def string_entry(name: bytes, value: str) -> bytes:
    """One string in a Struct."""
    return block(_ENTRY, block(_KEY, name) + block(_VALUE, block(_STRING, text(value))))


def number_entry_start(name: bytes) -> bytes:
    """One number in a Struct, up to the number itself, which is always 8 bytes."""
    key = block(_KEY, name)
    inner = len(_NUMBER) + _DOUBLE_SIZE
    size = len(key) + len(_VALUE) + len(varint(inner)) + inner
    return _ENTRY + varint(size) + key + _VALUE + varint(inner) + _NUMBER


def number(value: float) -> bytes:
    """What follows `number_entry_start`."""
    return _pack_double(value)


def struct_entry_start(name: bytes, entries: bytes, to_come: int) -> bytes:
    """A Struct in a Struct whose last `to_come` bytes follow."""
    fields = len(entries) + to_come
    value = len(_STRUCT) + len(varint(fields)) + fields
    key = block(_KEY, name)
    size = len(key) + len(_VALUE) + len(varint(value)) + value
    return _ENTRY + varint(size) + key + _VALUE + varint(value) + _STRUCT + varint(fields) + entries


# HeaderValueOption

_HEADER: Final = tag(1)
# Envoy's older versions look at `append`, its newer ones at `append_action`: both say that the old value goes.
_OVERWRITE: Final = block(tag(2), b"") + tag(3, VARINT) + varint(2)


def header(start: bytes, name: str, value: str) -> bytes:
    """A HeaderValueOption that overwrites, after the tag of the list it belongs to. The value is one already checked."""
    pair = block(_KEY, text(name)) + block(_VALUE, text(value))
    return block(start, block(_HEADER, pair) + _OVERWRITE)


common_header = lru_cache(maxsize=4096)(header)
"""`header` for values that many answers share, whoever the tenant."""
