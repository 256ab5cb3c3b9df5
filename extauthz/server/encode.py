"""A decision to the bytes of a CheckResponse (spec 3.6).

`status` is written on every path and the HTTP status is never 0: an empty CheckResponse, and a denial with status 0, are an
allow to Envoy.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from extauthz.model.decision import Decision, Denial, Gate, Reason
from extauthz.model.request import CheckRequest
from extauthz.server import headers, metadata, wire
from extauthz.server.body import body
from extauthz.server.recent import Recent
from extauthz.server.status import Row, retry_after_seconds, row_for

_DENIED: Final = wire.tag(2)
_OK: Final = wire.tag(3)
_METADATA: Final = wire.tag(4)
_STATUS_OK: Final = wire.block(wire.tag(1), b"")

_OK_HEADERS: Final = wire.tag(2)
_OK_REMOVE: Final = wire.tag(5)
_OK_TO_CLIENT: Final = wire.tag(6)

_DENIED_HEADERS: Final = wire.tag(2)
_DENIED_BODY: Final = wire.tag(3)

_ALLOWS_KEPT: Final = 8192

_NO_REQUEST: Final = CheckRequest(method="", path="", headers={})


@dataclass(frozen=True, slots=True)
class _Allow:
    """An allow that was written before, and what it was written from."""

    made_from: tuple[object, ...]
    ok: bytes
    metadata: bytes


class Encoder:
    """Writes answers.

    `draft_headers` adds the IETF draft's `ratelimit` and `ratelimit-policy`. Between `allows_kept` and twice as many tenants'
    unchanging parts of an allow (about 1 KiB each) are kept.
    """

    def __init__(self, *, draft_headers: bool = False, allows_kept: int = _ALLOWS_KEPT) -> None:
        self._draft = draft_headers
        self._allows: Recent[tuple[str, str], _Allow] = Recent(allows_kept)

    def encode(self, decision: Decision, request: CheckRequest | None, seconds: float) -> bytes:
        """The answer. `request` None: the message could not be read. `seconds` is the time the check took so far.

        Raises:
            KeyError: the denial's gate never denies for its reason.
        """
        denial = decision.denial
        asked = request or _NO_REQUEST
        if denial is None:
            return self._allow(decision, asked, seconds)
        return self._deny(decision, denial, asked, seconds)

    def _allow(self, decision: Decision, request: CheckRequest, seconds: float) -> bytes:
        kept = self._kept(decision)
        ok, rate = kept.ok, decision.facts.rate
        if rate is not None:
            for name, value in headers.rate_headers(rate, draft=self._draft):
                ok += wire.common_header(_OK_TO_CLIENT, name, value)
        for name in headers.removed_here(request.headers):
            ok += wire.block(_OK_REMOVE, wire.text(name))
        told = kept.metadata + metadata.passing(decision, seconds)
        return _STATUS_OK + wire.block(_OK, ok) + wire.block(_METADATA, told)

    def _kept(self, decision: Decision) -> _Allow:
        facts = decision.facts
        principal, plan = facts.principal, facts.plan
        who = ("", "") if principal is None else (principal.tenant_id, principal.subject)
        made_from = (
            None if principal is None else principal.method,
            None if plan is None else plan.plan_id,
            facts.lifecycle,
            facts.billing,
            decision.degraded,
            decision.strip,
        )
        kept = self._allows.get(who)
        if kept is None or kept.made_from != made_from:
            kept = _Allow(made_from, _lasting_ok(decision), metadata.lasting(decision))
            self._allows.put(who, kept)
        return kept

    def _deny(self, decision: Decision, denial: Denial, request: CheckRequest, seconds: float) -> bytes:
        row = row_for(denial)
        lines = _denial_headers(denial, row, request)
        rate = decision.facts.rate
        if rate is not None and denial.gate is Gate.PROTECTION:
            lines += headers.rate_headers(rate, draft=self._draft)
        written = b"".join([wire.common_header(_DENIED_HEADERS, name, value) for name, value in lines])
        content = wire.block(_DENIED_BODY, wire.text(body(denial, row, request.request_id)))
        told = metadata.lasting(decision) + metadata.passing(decision, seconds)
        http_status = wire.block(wire.tag(1), _code(row.http))
        status = wire.block(wire.tag(1), _code(row.grpc_number))
        return status + wire.block(_DENIED, http_status + written + content) + wire.block(_METADATA, told)


def _code(number: int) -> bytes:
    """Field `code`, which is number 1 in google.rpc.Status and in Envoy's HttpStatus."""
    return wire.tag(1, wire.VARINT) + wire.varint(number)


def _lasting_ok(decision: Decision) -> bytes:
    """The OkHttpResponse as far as it does not change from one check of a tenant to the next."""
    told = headers.towards_upstream(decision)
    parts = [
        # The rest of the values are shared by many tenants.
        (wire.header if name in headers.OWN_TO_ONE else wire.common_header)(_OK_HEADERS, name, value)
        for name, value in told.items()
    ]
    parts.append(_removed(tuple(headers.removed_always(told, decision.strip))))
    to_client = headers.billing_warning(decision.facts.billing)
    parts += [wire.common_header(_OK_TO_CLIENT, name, value) for name, value in to_client.items()]
    return b"".join(parts)


@lru_cache(maxsize=256)
def _removed(names: tuple[str, ...]) -> bytes:
    return b"".join([wire.block(_OK_REMOVE, wire.text(name)) for name in names])


def _denial_headers(denial: Denial, row: Row, request: CheckRequest) -> list[tuple[str, str]]:
    lines = [
        ("content-type", "application/json"),
        ("x-extauthz-gate", denial.gate.value),
        ("x-extauthz-reason", denial.reason.value),
    ]
    if row.retry:
        lines.append(("retry-after", str(retry_after_seconds(denial.retry_after_ms))))
    if row.ratelimited:
        lines.append(("x-envoy-ratelimited", "true"))
    if denial.reason in {Reason.MISSING_CREDENTIALS, Reason.INVALID_CREDENTIALS}:
        lines.append(("www-authenticate", _challenge(denial)))
    if request.headers.get("content-type", "").lower().startswith("application/grpc"):
        # Envoy would otherwise derive it from the HTTP status: 402 becomes UNKNOWN.
        lines.append(("grpc-status", str(row.grpc_number)))
    return lines


def _challenge(denial: Denial) -> str:
    presented = denial.credential_presented or denial.reason is Reason.INVALID_CREDENTIALS
    return 'Bearer error="invalid_token"' if presented else "Bearer"
