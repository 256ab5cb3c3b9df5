"""Our errors as gRPC statuses and back, by one table (protos/extauthz/provider/v1/common.proto says it in words)."""

from dataclasses import dataclass
from typing import Final

from grpc import StatusCode

from extauthz.errors import (
    AlreadyExists,
    ChangeRefused,
    ExtauthzError,
    IdempotencyConflict,
    InvalidRecord,
    InvalidTransition,
    NotFound,
    NotSupported,
    ProviderBusy,
    ProviderError,
    ProviderTimeout,
    TenantNotActive,
)

ERROR_WORD: Final = "extauthz-error"
"""The trailing metadata that tells apart what shares a status code."""

_LONGEST_DETAIL: Final = 300
_LONGEST_QUOTED: Final = 120


@dataclass(frozen=True, slots=True)
class Refusal:
    """A status other than OK. `word` is empty where the code says it all."""

    code: StatusCode
    details: str
    word: str = ""


_REFUSALS: Final[dict[type[ChangeRefused], StatusCode]] = {
    AlreadyExists: StatusCode.ALREADY_EXISTS,
    IdempotencyConflict: StatusCode.ALREADY_EXISTS,
    NotFound: StatusCode.NOT_FOUND,
    InvalidTransition: StatusCode.FAILED_PRECONDITION,
    TenantNotActive: StatusCode.FAILED_PRECONDITION,
    NotSupported: StatusCode.UNIMPLEMENTED,
}
"""In the order in which a code without a word is read: the first one that has it."""

_BY_WORD: Final = {kind.code: kind for kind in _REFUSALS}
_BY_CODE: Final = {code: kind for kind, code in reversed(_REFUSALS.items())}
_INVALID_RECORD: Final = "invalid_record"

_FAILURES: Final[tuple[tuple[type[ExtauthzError], StatusCode, str], ...]] = (
    (InvalidRecord, StatusCode.DATA_LOSS, _INVALID_RECORD),
    (ProviderTimeout, StatusCode.DEADLINE_EXCEEDED, ""),
    (ProviderBusy, StatusCode.RESOURCE_EXHAUSTED, ""),
    (ProviderError, StatusCode.UNAVAILABLE, ""),
)

_RECORD_CODES: Final = (StatusCode.DATA_LOSS, StatusCode.INVALID_ARGUMENT)


def refusal_of(error: ExtauthzError) -> Refusal:
    """The status that tells of a backend's error."""
    details = str(error)[:_LONGEST_DETAIL]
    code = _REFUSALS.get(type(error)) if isinstance(error, ChangeRefused) else None
    if code is not None and isinstance(error, ChangeRefused):
        return Refusal(code, details, error.code)
    for kind, code, word in _FAILURES:
        if isinstance(error, kind):
            return Refusal(code, details, word)
    return Refusal(StatusCode.UNAVAILABLE, details)


def error_of(refusal: Refusal, *, lookup: bool) -> ExtauthzError:
    """What a status means here. For a `lookup` whatever is not about one record or the time is no answer.

    RESOURCE_EXHAUSTED is a failure of the provider, not `ProviderBusy`: it is over there that something is used up, and a
    circuit that opens is what gives it time to recover.
    """
    text = _quoted(refusal.details) or refusal.code.name
    if refusal.code in _RECORD_CODES:
        return InvalidRecord(text)
    if refusal.code is StatusCode.DEADLINE_EXCEEDED:
        return ProviderTimeout(text)
    kind = _BY_CODE.get(refusal.code)
    if lookup or kind is None:
        return ProviderError(f"{refusal.code.name}: {text}")
    told = _BY_WORD.get(refusal.word, kind)
    return (told if _REFUSALS[told] is refusal.code else kind)(text)


def _quoted(details: str) -> str:
    """What the other side says, as its words: it goes into our log and our answers. Empty where it says nothing that can be shown."""
    shown = "".join(each for each in details[:_LONGEST_DETAIL] if each.isprintable()).replace('"', "'").strip()
    return f'the provider says "{shown[:_LONGEST_QUOTED]}"' if shown else ""
