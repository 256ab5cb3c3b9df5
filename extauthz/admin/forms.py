"""The bodies of the admin port's requests, strict: unknown fields and wrong types are errors."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from extauthz.config.units import Duration
from extauthz.gates.bypass import LONGEST
from extauthz.model.billing import MAX_PER_DAY, BillingState, to_micros
from extauthz.model.identity import is_valid_id
from extauthz.model.lifecycle import MAX_REASON, LifecycleState, Onboarding

MAX_IMPORTED: Final = 1000
"""Tenants in one call."""

_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_LAST_MOMENT: Final = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
_DECIMAL: Final = re.compile(r"-?\d{1,20}(\.\d{1,20})?", re.ASCII)
_DIGITS: Final = 20
"""More than any cost has; beyond 28 decimal arithmetic would begin to round."""


def _checked_id(text: str) -> str:
    if not is_valid_id(text):
        raise ValueError("must be 1 to 128 of A-Z a-z 0-9 _ . - and begin with a letter or digit")
    return text


def _one_line(text: str) -> str:
    if not text.strip():
        raise ValueError("must say why")
    return _without_nul(text.strip())


def _without_nul(text: str) -> str:
    """What a text column of PostgreSQL cannot hold."""
    if "\0" in text:
        raise ValueError("must not hold the character NUL")
    return text


def _moment(text: object) -> float:
    """RFC 3339 to Unix seconds."""
    if not isinstance(text, str) or _MOMENT.fullmatch(text) is None:
        raise ValueError("must be a time such as 2026-01-31T12:00:00Z")
    try:
        seconds = datetime.fromisoformat(text.upper()).timestamp()
    except (ValueError, OverflowError):
        raise ValueError("must be a time that exists, such as 2026-01-31T12:00:00Z") from None
    if not 0 <= seconds < _LAST_MOMENT:
        raise ValueError("must lie between the years 1970 and 9999")
    return seconds


def _cost(value: object) -> int:
    """A decimal string or a JSON number, read as it was written, to micro-units."""
    text = value if isinstance(value, str) else str(value)
    if not isinstance(value, int | str | Decimal) or _DECIMAL.fullmatch(text) is None:
        raise ValueError('must be a decimal such as "1.25"')
    amount = Decimal(text)
    if not 0 <= amount <= MAX_PER_DAY:
        raise ValueError(f"must lie between 0 and {MAX_PER_DAY:,}")
    if len(amount.as_tuple().digits) > _DIGITS:
        raise ValueError("must have at most 6 decimal places")
    return to_micros(amount)


def _scope(text: str) -> str:
    if not text.isascii() or not text.isprintable() or not text or any(letter in ' "\\,' for letter in text):
        raise ValueError('must be printable ASCII without space, comma, quote or backslash (RFC 6749, "scope")')
    return text


def _as_text(value: object) -> object:
    """A number has no unit, and no guess is made about it."""
    if not isinstance(value, str):
        raise ValueError("must be a text such as 15m or 90d")  # noqa: TRY004 - pydantic collects ValueError only
    return value


def _at_most_a_day(seconds: float) -> float:
    if seconds > LONGEST:
        raise ValueError("must be at most 24h; what has to last longer is set again, or configured")
    return seconds


Id = Annotated[str, AfterValidator(_checked_id)]
Reason = Annotated[str, Field(max_length=MAX_REASON), AfterValidator(_one_line)]
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_without_nul)]
Moment = Annotated[float, BeforeValidator(_moment)]
Length = Annotated[Duration, BeforeValidator(_as_text)]
BypassLength = Annotated[Length, AfterValidator(_at_most_a_day)]
Cost = Annotated[int, BeforeValidator(_cost)]
Scope = Annotated[str, Field(max_length=128), AfterValidator(_scope)]


class Form(BaseModel):
    """What every body has in common."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NewTenantForm(Form):
    """POST /tenants."""

    id: Id
    name: Name | None = None
    plan: Id | None = None
    onboarding: Onboarding = Onboarding.PENDING
    billing_state: BillingState = BillingState.TRIAL
    reason: Reason


class ImportedTenant(Form):
    """One tenant of an import, in whatever state it comes. `created_at` None: now."""

    id: Id
    name: Name | None = None
    plan: Id | None = None
    onboarding: Onboarding = Onboarding.PENDING
    lifecycle: LifecycleState = LifecycleState.ACTIVE
    billing_state: BillingState = BillingState.TRIAL
    created_at: Moment | None = None


class ImportForm(Form):
    """POST /tenants/import. `on_conflict`: what to do where a tenant is there and is not the same."""

    tenants: Annotated[list[ImportedTenant], Field(min_length=1, max_length=MAX_IMPORTED)]
    on_conflict: Literal["stop", "keep"] = "stop"
    reason: Reason


class OnboardingForm(Form):
    """PUT /tenants/{id}/onboarding."""

    state: Onboarding
    reason: Reason


class TransitionForm(Form):
    """POST /tenants/{id}/lifecycle."""

    to: LifecycleState
    reason: Reason


class BillingForm(Form):
    """PUT /tenants/{id}/billing; what is missing stays as it is."""

    state: BillingState | None = None
    plan: Id | None = None
    reason: Reason


class KeyForm(Form):
    """POST /tenants/{id}/keys."""

    scopes: Annotated[list[Scope], Field(max_length=64)] = []
    expires_in: Length | None = None
    reason: Reason


class OperatorKeyForm(Form):
    """POST /operators/keys."""

    expires_in: Length | None = None
    reason: Reason


class ReasonForm(Form):
    """A change that needs nothing but a reason."""

    reason: Reason


class BypassForm(Form):
    """PUT /bypass/{gate}. `ttl` is in seconds once it is read."""

    ttl: BypassLength
    reason: Reason


class UsageForm(Form):
    """POST /usage. `cost` is in micro-units once it is read."""

    tenant: Id
    cost: Cost
    idempotency_key: Annotated[str, Field(pattern=r"^[\x20-\x7e]{1,128}$")]


class CheckForm(Form):
    """POST /check."""

    tenant: Id
    path: Annotated[str, Field(max_length=65536)]
    method: Annotated[str, Field(pattern=r"^[A-Za-z]{1,20}$")] = "GET"
