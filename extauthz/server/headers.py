"""The headers of an answer: towards the upstream, towards the client, and the names that must not reach the upstream."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from extauthz.model.billing import BillingState
from extauthz.model.decision import Decision
from extauthz.model.identity import SYSTEM_TENANT
from extauthz.model.protection import RATE_PERIOD_US, RateStatus

OWN_NAMES: Final = (
    "x-tenant-id",
    "x-tenant-plan",
    "x-tenant-lifecycle",
    "x-tenant-billing",
    "x-auth-method",
    "x-auth-subject",
    "x-extauthz-degraded",
)
"""What the upstream may believe: each is either set by us or removed."""

OWN_TO_ONE: Final = frozenset({"x-tenant-id", "x-auth-subject"})
"""Those whose values no two callers share."""

RESERVED_PREFIXES: Final = ("x-tenant-", "x-extauthz-")
MAX_VALUE: Final = 4096
"""Longest header value, in characters. Envoy allows 60 KiB for all headers of a request together."""

_RATE_WINDOW: Final = RATE_PERIOD_US // 1_000_000


def is_sendable(value: str) -> bool:
    """Whether a header can carry `value` unchanged.

    CR, LF or NUL would make Envoy answer 5xx, and blanks at the ends would be cut off. A value that fails is left out, never
    mended: half an identity is somebody else's.
    """
    return (
        value.isascii() and value.isprintable() and value == value.strip() and value != "" and len(value) <= MAX_VALUE
    )


def towards_upstream(decision: Decision) -> dict[str, str]:
    """What the upstream is told, by name; only values that a header can carry."""
    principal, facts = decision.facts.principal, decision.facts
    if principal is None:
        return {}
    told = {"x-auth-method": principal.method.value, "x-auth-subject": principal.subject}
    if principal.tenant_id != SYSTEM_TENANT:
        told |= {
            "x-tenant-id": principal.tenant_id,
            "x-tenant-plan": "" if facts.plan is None else facts.plan.plan_id,
            "x-tenant-lifecycle": "" if facts.lifecycle is None else facts.lifecycle.value,
            "x-tenant-billing": "" if facts.billing is None else facts.billing.value,
            "x-extauthz-degraded": ",".join(decision.degraded),
        }
    return {name: value for name, value in told.items() if is_sendable(value)}


def removed_always(told: Iterable[str], strip: Sequence[str]) -> list[str]:
    """The names removed whatever the request carries. Envoy removes a name that is both set and removed: never both."""
    kept = set(told)
    return [name for name in (*OWN_NAMES, *strip) if name not in kept]


def removed_here(headers: Mapping[str, str]) -> list[str]:
    """Names under our prefixes that this request carries; Envoy knows no wildcards. Not those of `OWN_NAMES`."""
    names = "\n".join(headers)  # one search in all the names together is much cheaper than one in each
    if "x-tenant-" not in names and "x-extauthz-" not in names:
        return []
    return [name for name in headers if name.startswith(RESERVED_PREFIXES) and name not in OWN_NAMES]


def billing_warning(state: BillingState | None) -> dict[str, str]:
    """What the client of a tenant that is late with paying is told."""
    return {"x-billing-warning": "past_due"} if state is BillingState.PAST_DUE else {}


def rate_headers(rate: RateStatus, *, draft: bool) -> list[tuple[str, str]]:
    """Where the client stands. `draft` adds the two headers of the IETF draft (draft-ietf-httpapi-ratelimit-headers)."""
    reset = -(-rate.reset_us // 1_000_000)
    found = [
        ("x-ratelimit-limit", f"{rate.limit}, {rate.limit};w={_RATE_WINDOW}"),
        ("x-ratelimit-remaining", str(rate.remaining)),
        ("x-ratelimit-reset", str(reset)),
    ]
    if draft:
        found.append(("ratelimit-policy", f'"rate";q={rate.limit};w={_RATE_WINDOW}'))
        found.append(("ratelimit", f'"rate";r={rate.remaining};t={reset}'))
    return found
