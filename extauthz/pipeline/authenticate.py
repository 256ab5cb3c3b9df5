"""The auth gateway: who is calling? Fail-closed: without an answer there is no principal (spec 3.2)."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from extauthz.errors import InvalidCredential
from extauthz.gates.base import unavailable
from extauthz.model.deadline import Deadline
from extauthz.model.decision import Denial, Gate, Reason
from extauthz.model.identity import AuthMethod, Principal
from extauthz.model.request import CheckRequest
from extauthz.ports import CredentialMethod, Presented, Unavailable

API_KEY_HEADER: Final = "x-api-key"
AUTHORIZATION: Final = "authorization"

_STRIP_KEY: Final = (API_KEY_HEADER,)
_STRIP_BOTH: Final = (API_KEY_HEADER, AUTHORIZATION)
_API_KEY: Final = AuthMethod.API_KEY

MISSING: Final = Denial(gate=Gate.AUTH, reason=Reason.MISSING_CREDENTIALS)


class Authenticated(NamedTuple):
    """Who is calling, and the request headers that must not reach the upstream."""

    principal: Principal
    strip: tuple[str, ...]


class _Credential(NamedTuple):
    """A credential and the method whose form it has."""

    method: CredentialMethod
    presented: Presented


class Authenticator:
    """Verifies every credential that a request presents.

    Args:
        methods: the enabled ways to authenticate; the first that finds a credential names the principal.
        strip_authorization: keep `authorization` from the upstream whatever it carried.
    """

    def __init__(self, *, methods: Sequence[CredentialMethod], strip_authorization: bool = False) -> None:
        self._methods = tuple(methods)
        self._strip_authorization = strip_authorization

    def but(self, *, strip_authorization: bool) -> "Authenticator":
        """The same with another `strip_authorization`."""
        return Authenticator(methods=self._methods, strip_authorization=strip_authorization)

    async def authenticate(self, request: CheckRequest, deadline: Deadline) -> Authenticated | Denial:
        """The principal, or why there is none (401, or 503 when the credential provider gives no answer)."""
        found = [_Credential(method, one) for method in self._methods for one in method.present(request)]
        if not found:
            return MISSING
        principals: list[Principal | None] = []
        # Whatever can be told to be invalid without a look-up is said before anything waits, so that a forged credential
        # stays a 401 while the store is down.
        for method, presented in found:
            try:
                principals.append(_verify_now(method, presented))
            except InvalidCredential as error:
                return _invalid(method, str(error))
        verified = await _complete(found, principals, deadline) if None in principals else principals
        if isinstance(verified, Denial):
            return verified
        return self._unite(found, [principal for principal in verified if principal is not None])

    def _unite(self, found: list[_Credential], principals: list[Principal]) -> Authenticated | Denial:
        """The first principal, if the others are of the same tenant."""
        first = principals[0]
        for credential, other in zip(found, principals, strict=True):
            if other.tenant_id != first.tenant_id:
                return _invalid(credential.method, "credentials of different tenants")
        return Authenticated(first, self._strip(found))

    def _strip(self, found: list[_Credential]) -> tuple[str, ...]:
        if self._strip_authorization:
            return _STRIP_BOTH
        for method, presented in found:
            if presented.header == AUTHORIZATION and method.name is _API_KEY:
                return _STRIP_BOTH
        return _STRIP_KEY


def _verify_now(method: CredentialMethod, presented: Presented) -> Principal | None:
    """As the method's own, with a malformed credential refused whatever the method makes of it.

    Raises:
        InvalidCredential: it is known already that it does not verify.
    """
    if presented.malformed:
        raise InvalidCredential("malformed")
    return method.verify_now(presented)


async def _complete(
    found: list[_Credential], principals: list[Principal | None], deadline: Deadline
) -> list[Principal | None] | Denial:
    """`principals` with every gap filled by a look-up.

    An outage does not end it: a later credential that is refused all the same makes it a 401.
    """
    outage: Denial | None = None
    for index, (method, presented) in enumerate(found):
        if principals[index] is None:
            try:
                principals[index] = await method.verify(presented, deadline)
            except InvalidCredential as error:
                return _invalid(method, str(error))
            except Unavailable as error:
                outage = outage or _unavailable(method, error)
    return outage or principals


def _invalid(method: CredentialMethod, note: str) -> Denial:
    return Denial(
        gate=Gate.AUTH,
        reason=Reason.INVALID_CREDENTIALS,
        note=note,
        credential_presented=True,
        method=method.name,
    )


def _unavailable(method: CredentialMethod, error: Unavailable) -> Denial:
    denial = unavailable(Gate.AUTH, error)
    return Denial(
        gate=denial.gate,
        reason=denial.reason,
        retry_after_ms=denial.retry_after_ms,
        note=denial.note,
        credential_presented=True,
        method=method.name,
    )
