"""Bytes of a CheckRequest to the model. Never raises anything but `MalformedMessage`, whatever the bytes are."""

import codecs
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct, Value

from extauthz._gen.wire.v3 import external_auth_pb2 as wire
from extauthz.errors import ExtauthzError
from extauthz.model.decision import Denial, Gate, Reason
from extauthz.model.request import CheckRequest

JWT_FILTER: Final = "envoy.filters.http.jwt_authn"
MAX_REQUEST_ID: Final = 128
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_NO_CLAIMS: Final[Mapping[str, object]] = MappingProxyType({})


class MalformedMessage(ExtauthzError):
    """The bytes are no CheckRequest."""


def decode(message: bytes, *, trusted_transport: bool = False) -> CheckRequest:
    """The request in `message`. What it does not say is empty; `fault` tells whether enough is there.

    Raises:
        MalformedMessage: the bytes are no CheckRequest.
    """
    try:
        attributes = wire.CheckRequest.FromString(message).attributes
    except DecodeError:
        raise MalformedMessage("the bytes are no CheckRequest") from None
    http = attributes.request.http
    headers = _headers(http)
    source = attributes.source
    extensions = attributes.context_extensions
    return CheckRequest(
        method=http.method,
        path=http.path,
        headers=headers,
        context_extensions=dict(extensions) if extensions else _NOTHING,
        request_id=_request_id(headers.get("x-request-id") or http.id),
        source_address=source.address.socket_address.address or _other_address(source.address),
        source_principal=source.principal,
        verified_claims=_claims(attributes.metadata_context) if attributes.HasField("metadata_context") else _NO_CLAIMS,
        trusted_transport=trusted_transport,
    )


def fault(request: CheckRequest) -> Denial | None:
    """Why nothing can be decided about this request; None where it has a method and a path."""
    if not request.method:
        return Denial(gate=Gate.REQUEST, reason=Reason.MESSAGE)
    if not request.path:
        return Denial(gate=Gate.REQUEST, reason=Reason.PATH)
    return None


def _headers(http: wire.AttributeContext.HttpRequest) -> dict[str, str]:
    headers = dict(http.headers)
    if not headers and http.header_map.headers:
        return _merged((entry.key, _text(entry)) for entry in http.header_map.headers)
    # One look at all the names together is much cheaper than one at each; Envoy always sends lower case.
    names = "".join(headers)
    return headers if names == names.lower() else _merged(headers.items())


def _merged(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Lower-case names; several values of one name are joined with a comma, as Envoy does in its own map."""
    merged: dict[str, str] = {}
    for name, value in pairs:
        lower = name.lower()
        merged[lower] = f"{merged[lower]},{value}" if lower in merged else value
    return merged


def _text(entry: wire.HeaderValue) -> str:
    return entry.raw_value.decode("utf-8", _ENVOY_ERRORS) if entry.raw_value else entry.value


def _exclamation_mark(error: UnicodeError) -> tuple[str, int]:
    """Each byte that is not UTF-8 becomes `!`: what Envoy does, so that both forms of a request read the same."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "!", error.start + 1


_ENVOY_ERRORS: Final = "extauthz.envoy"
codecs.register_error(_ENVOY_ERRORS, _exclamation_mark)


def _request_id(text: str) -> str:
    """`text` if it can stand in an answer and a log as it is, else empty."""
    return text if len(text) <= MAX_REQUEST_ID and text.isascii() and text.isprintable() else ""


def _other_address(address: wire.Address) -> str:
    if address.HasField("pipe"):
        return f"unix:{address.pipe.path}"
    if address.HasField("envoy_internal_address"):
        return f"internal:{address.envoy_internal_address.server_listener_name}"
    return ""


def _claims(metadata: wire.Metadata) -> Mapping[str, object]:
    verified = metadata.filter_metadata
    return _struct(verified[JWT_FILTER]) if JWT_FILTER in verified else _NO_CLAIMS


def _struct(struct: Struct) -> dict[str, object]:
    return {name: _value(value) for name, value in struct.fields.items()}


def _value(value: Value) -> object:
    """A plain Python value; nesting is bounded by the parser, which refuses messages more than 100 deep."""
    match value.WhichOneof("kind"):
        case "struct_value":
            return _struct(value.struct_value)
        case "list_value":
            return [_value(item) for item in value.list_value.values]
        case "string_value":
            return value.string_value
        case "number_value":
            return value.number_value
        case "bool_value":
            return value.bool_value
        case _:
            return None
