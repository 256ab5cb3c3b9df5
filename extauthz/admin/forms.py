"""The bodies of the admin port's requests, strict: unknown fields and wrong types are errors."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from extauthz.config.units import Duration
from extauthz.model.billing import BillingState
from extauthz.model.identity import is_valid_id
from extauthz.model.lifecycle import LifecycleState, Onboarding


def _checked_id(text: str) -> str:
    if not is_valid_id(text):
        raise ValueError("must be 1 to 128 of A-Z a-z 0-9 _ . - and begin with a letter or digit")
    return text


def _one_line(text: str) -> str:
    if not text.strip():
        raise ValueError("must say why")
    return text.strip()


def _scope(text: str) -> str:
    if not text.isascii() or not text.isprintable() or not text or any(letter in ' "\\,' for letter in text):
        raise ValueError('must be printable ASCII without space, comma, quote or backslash (RFC 6749, "scope")')
    return text


Id = Annotated[str, AfterValidator(_checked_id)]
Reason = Annotated[str, Field(max_length=1000), AfterValidator(_one_line)]
Scope = Annotated[str, Field(max_length=128), AfterValidator(_scope)]


class Form(BaseModel):
    """What every body has in common."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NewTenantForm(Form):
    """POST /tenants."""

    id: Id
    name: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    plan: Id | None = None
    onboarding: Onboarding = Onboarding.PENDING
    billing_state: BillingState = BillingState.TRIAL
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
    expires_in: Duration | None = None
    reason: Reason


class OperatorKeyForm(Form):
    """POST /operators/keys."""

    expires_in: Duration | None = None
    reason: Reason


class ReasonForm(Form):
    """A change that needs nothing but a reason."""

    reason: Reason


class CheckForm(Form):
    """POST /check."""

    tenant: Id
    path: Annotated[str, Field(max_length=65536)]
    method: Annotated[str, Field(pattern=r"^[A-Za-z]{1,20}$")] = "GET"
