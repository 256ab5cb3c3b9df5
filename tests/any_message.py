"""Hypothesis: any message of a protobuf type, whatever its fields hold."""

from typing import Any, TypeVar

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

M = TypeVar("M", bound=Message)

_INT32 = st.integers(-(2**31), 2**31 - 1)
_SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_STRING: st.sampled_from(["", "acme", "key1", "{}", "[]", "protection_decision", "auth"])
    | st.text(st.characters(codec="utf-8"), max_size=8),
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=8),
    FieldDescriptor.TYPE_DOUBLE: st.floats(),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_INT32: _INT32,
    FieldDescriptor.TYPE_INT64: st.integers(-(2**63), 2**63 - 1) | st.integers(0, 10),
}


def any_message(kind: type[M]) -> st.SearchStrategy[M]:
    """Any message of that type: fields set or not, numbers of enums known or not."""
    descriptor: Any = kind.DESCRIPTOR  # of one class or another, by the implementation of protobuf
    return _message(descriptor).map(lambda message: kind.FromString(message.SerializeToString()))


def _message(descriptor: Descriptor) -> st.SearchStrategy[Message]:
    fields = {field.name: _field(field) for field in descriptor.fields}
    made = GetMessageClass(descriptor)
    return st.fixed_dictionaries({}, optional=fields).map(lambda chosen: made(**_one_of_each(descriptor, chosen)))


def _one_of_each(descriptor: Descriptor, chosen: dict[str, Any]) -> dict[str, Any]:
    """Of the fields of a oneof the last one counts on the wire; here only one is set at all."""
    for group in descriptor.oneofs:
        names = [field.name for field in group.fields if field.name in chosen]
        for name in names[1:]:
            del chosen[name]
    return chosen


def _field(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key, value = (_single(each) for each in field.message_type.fields)
        return st.dictionaries(key, value, max_size=2)
    return st.lists(_single(field), max_size=3) if field.is_repeated else _single(field)


def _single(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return _message(field.message_type)
    if field.enum_type is not None:
        return _enum(field.enum_type)
    return _SCALARS[field.type]


def _enum(descriptor: EnumDescriptor) -> st.SearchStrategy[int]:
    return st.sampled_from([value.number for value in descriptor.values]) | _INT32
