"""Envoy's side of a check, read and written by envoy-data-plane: complete, and generated from Envoy's own files.

It shares nothing with our schema and our encoder, so a wrong field number cannot agree with itself.
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    HeaderMap,
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
    Metadata,
    SocketAddress,
)
from envoy_data_plane.envoy.service.auth.v3 import (
    AttributeContext,
    AttributeContextHttpRequest,
    AttributeContextPeer,
    AttributeContextRequest,
    CheckRequest,
    CheckResponse,
)
from envoy_data_plane.google.protobuf import ListValue, NullValue, Struct, Value

from extauthz._gen.wire.v3 import external_auth_pb2 as wire
from extauthz.model.billing import BillingState, Limits, Plan, Tier
from extauthz.model.decision import Decision, Denial, Facts, Gate, GateReport, Source
from extauthz.model.identity import AuthMethod, Principal
from extauthz.model.lifecycle import LifecycleState
from extauthz.model.request import Route, RouteClass

OVERWRITE = HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD
DECISION_ID = "0192f0c1-7b3f-7e34-9a0f-0a7a9b2c6d11"


def http_request(
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "POST",
    path: str = "/api/v1/runs",
    raw_headers: Sequence[tuple[str, bytes]] = (),
) -> AttributeContextHttpRequest:
    """The HTTP part of a request. `raw_headers` are given as Envoy's `encode_raw_headers` does."""
    listed = [HeaderValue(key=name, raw_value=value) for name, value in raw_headers]
    return AttributeContextHttpRequest(
        id="8811", method=method, path=path, headers=dict(headers or {}), header_map=HeaderMap(headers=listed)
    )


def check_request(
    http: AttributeContextHttpRequest,
    *,
    address: Address | None = None,
    principal: str = "",
    extensions: Mapping[str, str] | None = None,
    metadata: Metadata | None = None,
) -> bytes:
    """A whole CheckRequest as it travels; `address` None: the source has none."""
    attributes = AttributeContext(
        source=AttributeContextPeer(address=address, principal=principal),
        request=AttributeContextRequest(http=http),
        context_extensions=dict(extensions or {}),
        metadata_context=metadata,
    )
    return bytes(CheckRequest(attributes=attributes))


def message(headers: Mapping[str, str] | None = None, *, method: str = "POST", path: str = "/api/v1/runs") -> bytes:
    """A CheckRequest from 10.1.2.3."""
    http = http_request(headers, method=method, path=path)
    return check_request(http, address=Address(socket_address=SocketAddress(address="10.1.2.3", port_value=40000)))


def struct_of(values: Mapping[str, object]) -> Struct:
    """A Struct of plain values."""
    return Struct(fields={name: _value(value) for name, value in values.items()})


def _value(value: object) -> Value:
    match value:
        case bool():
            return Value(bool_value=value)
        case str():
            return Value(string_value=value)
        case float():
            return Value(number_value=value)
        case list():
            return Value(list_value=ListValue(values=[_value(item) for item in value]))
        case dict():
            return Value(struct_value=struct_of(value))
        case _:
            return Value(null_value=NullValue.NULL_VALUE)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A CheckResponse as Envoy understands it."""

    rpc_code: int
    allowed: bool
    http_status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    to_client: dict[str, str] = field(default_factory=dict)
    body: dict[str, object] = field(default_factory=dict)
    metadata: dict[str, object] = field(default_factory=dict)


def read(answer: bytes) -> Answer:
    """Read an answer; fails where Envoy would misread it."""
    _is_canonical(answer)
    with warnings.catch_warnings():
        # We set the older field beside the newer on purpose: older Envoys know no other.
        warnings.filterwarnings("ignore", "HeaderValueOption.append is deprecated", DeprecationWarning)
        response = CheckResponse.parse(answer)
    assert response.status is not None
    assert response.dynamic_metadata is not None
    metadata = _plain(response.dynamic_metadata)
    if response.ok_response is not None:
        ok = response.ok_response
        assert response.denied_response is None
        headers, to_client = _overwriting(ok.headers), _overwriting(ok.response_headers_to_add)
        assert not set(headers) & set(ok.headers_to_remove), "a name both set and removed is removed"
        assert len(ok.headers_to_remove) == len(set(ok.headers_to_remove))
        return Answer(
            rpc_code=response.status.code,
            allowed=response.status.code == 0,
            headers=headers,
            removed=list(ok.headers_to_remove),
            to_client=to_client,
            metadata=metadata,
        )
    denied = response.denied_response
    assert denied is not None, "an empty CheckResponse is an allow"
    assert denied.status is not None
    assert denied.status.code >= 400, "a denial with status 0 is an allow"
    assert response.status.code != 0
    return Answer(
        rpc_code=response.status.code,
        allowed=False,
        http_status=int(denied.status.code),
        to_client=_overwriting(denied.headers),
        body=json.loads(denied.body),
        metadata=metadata,
    )


def _is_canonical(answer: bytes) -> None:
    """A second reader, C-backed, knows every byte of it, and would need as many to write it."""
    again = wire.CheckResponse.FromString(answer)
    assert len(again.SerializeToString()) == len(answer)


def _overwriting(options: Sequence[HeaderValueOption]) -> dict[str, str]:
    found: dict[str, str] = {}
    for option in options:
        assert option.append is False
        assert option.append_action is OVERWRITE
        assert option.header is not None
        assert option.header.key not in found
        assert option.header.value.isascii()
        assert option.header.value.isprintable()
        found[option.header.key] = option.header.value
    return found


def _plain(struct: Struct) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in struct.fields.items():
        if value.struct_value is not None:
            found[name] = _plain(value.struct_value)
        else:
            found[name] = value.string_value if value.string_value is not None else value.number_value
    return found


PLAN = Plan(plan_id="pro", name="Pro", tier=Tier.PRO, limits=Limits(rate=60, burst=10))


def principal(tenant_id: str = "acme", subject: str = "abcdefghijklmnop") -> Principal:
    """A customer with an API key."""
    return Principal(tenant_id=tenant_id, method=AuthMethod.API_KEY, subject=subject)


def facts() -> Facts:
    """What is known of a customer in good standing."""
    return Facts(principal=principal(), lifecycle=LifecycleState.ACTIVE, billing=BillingState.ACTIVE, plan=PLAN)


def decision(
    denial: Denial | None = None,
    *,
    known: Facts | None = None,
    reports: tuple[GateReport, ...] = (),
    degraded: tuple[Gate, ...] = (),
    strip: tuple[str, ...] = ("x-api-key",),
) -> Decision:
    """A decision; an allow for the customer of `facts` where nothing else is said."""
    return Decision(
        decision_id=DECISION_ID,
        denial=denial,
        route=Route(route_class=RouteClass.SDK),
        facts=facts() if known is None else known,
        reports=reports,
        degraded=degraded,
        strip=strip,
    )


def report(gate: Gate, *, source: Source = Source.CACHE, age_ms: int | None = None) -> GateReport:
    """A gate that let the request pass."""
    return GateReport(gate=gate, verdict="allow", mode="enforce", source=source, age_ms=age_ms)
