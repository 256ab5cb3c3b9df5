"""API keys as a way to authenticate (spec section 3.2)."""

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import sha256
from typing import Final, NoReturn, Protocol

from extauthz.authn.key_format import KeyParts, bearer_key, is_key, is_near_miss, key_id_of, split_key
from extauthz.authn.pepper import Pepper, PepperBook
from extauthz.authn.refusals import KeyFault, Refusals
from extauthz.authn.verifier import Verified, fault_now, verify_secret
from extauthz.errors import InvalidCredential
from extauthz.model.deadline import Deadline
from extauthz.model.identity import ApiKey, AuthMethod, Principal
from extauthz.model.request import CheckRequest
from extauthz.ports import Lookup, Presented, WallClock

HEADER: Final = "x-api-key"
AUTHORIZATION: Final = "authorization"

_MAX_VERIFIED: Final = 16_384
_NOTHING: Final[Sequence[Presented]] = ()


class UseRecorder(Protocol):
    """Takes note that a key was used, and of its renewed hash. Cheap, never waits, never raises."""

    def note(self, key_id: str, at: float, renewed: tuple[bytes, str] | None = None) -> None:
        """`at` is Unix seconds; `renewed` a hash and the fingerprint of its pepper."""


class ApiKeys:
    """Verifies API keys; implements `ports.CredentialMethod`.

    An id whose mac is invented is refused without a look-up. The rest is compared with the record that `lookup` has, which is
    never older than its cache permits; whether the key is revoked or has expired is looked at on every use.

    Args:
        peppers: the peppers in use.
        lookup: the guarded look-up of key records by key id.
        refusals: remembers refused keys; to be told to forget when keys change.
        uses: takes note of uses.
        wall: Unix seconds, for expiry and last-used times.
    """

    name: Final = AuthMethod.API_KEY

    def __init__(
        self,
        *,
        peppers: PepperBook,
        lookup: Lookup[str, ApiKey | None],
        refusals: Refusals,
        uses: UseRecorder,
        wall: WallClock,
    ) -> None:
        self._peppers = peppers
        self._lookup = lookup
        self._refusals = refusals
        self._uses = uses
        self._wall = wall
        # What verified, by a hash of the whole key, with the very record it was compared with: as long as the look-up gives
        # that same object, comparing again could only give the same answer. Bounded; the oldest goes first.
        self._verified: OrderedDict[bytes, Verified] = OrderedDict()

    @property
    def remembered(self) -> int:
        """Of how many keys it is remembered that they verify."""
        return len(self._verified)

    def present(self, request: CheckRequest) -> Sequence[Presented]:
        """The API keys in `x-api-key` and `authorization`, malformed ones too."""
        headers = request.headers
        key, authorization = headers.get(HEADER), headers.get(AUTHORIZATION)
        bearer = None if authorization is None else _from_authorization(authorization)
        if key is None:
            return _NOTHING if bearer is None else (bearer,)
        plain = Presented(header=HEADER, credential=key, malformed=not is_key(key))
        return (plain,) if bearer is None else (plain, bearer)

    def verify_now(self, presented: Presented) -> Principal | None:
        """The principal if the key's record is cached; None when it must be looked up.

        Raises:
            InvalidCredential: malformed, forged, refused a moment ago, or not the key of the cached record.
        """
        text = presented.credential
        if presented.malformed:
            raise InvalidCredential(KeyFault.MALFORMED)
        digest = sha256(text.encode()).digest()
        fetched = self._lookup.peek(key_id_of(text))
        verified = self._verified.get(digest)
        if verified is not None and fetched is not None and fetched.value is verified.record:
            return self._use(verified, digest, self._refusals.generation)
        parts, signer = self._examine(text, digest)
        if fetched is None:
            return None
        return self._judge(parts, signer, fetched.value, digest, self._refusals.generation)

    async def verify(self, presented: Presented, deadline: Deadline) -> Principal:
        """The principal, after a look-up where one is needed.

        Raises:
            InvalidCredential: it does not verify.
            Unavailable: the record could not be had by the deadline; nothing is known of the key then.
        """
        if presented.malformed:
            raise InvalidCredential(KeyFault.MALFORMED)
        digest = sha256(presented.credential.encode()).digest()
        parts, signer = self._examine(presented.credential, digest)
        generation = self._refusals.generation
        fetched = await self._lookup.get(parts.key_id, deadline)
        return self._judge(parts, signer, fetched.value, digest, generation)

    def _examine(self, text: str, digest: bytes) -> tuple[KeyParts, Pepper]:
        """The parts of a well-formed key and the pepper that signed its id, unless it is refused without a look-up.

        A forged id is not worth remembering: it is refused as cheaply each time, and a flood of them must not push out the
        refusals that save a look-up.
        """
        fault = self._refusals.find(digest)
        if fault is not None:
            raise InvalidCredential(fault)
        parts = split_key(text)
        signer = self._peppers.signer(parts.key_id, parts.mac)
        if signer is None:
            raise InvalidCredential(KeyFault.FORGED)
        return parts, signer

    def _judge(
        self, parts: KeyParts, signer: Pepper, record: ApiKey | None, digest: bytes, generation: int
    ) -> Principal:
        """Compare with the record and remember the outcome."""
        outcome = verify_secret(parts, signer, record, self._peppers)
        if isinstance(outcome, KeyFault):
            self._refuse(outcome, digest, generation)
        principal = self._use(outcome, digest, generation)
        if outcome.renewed is not None:
            self._uses.note(outcome.record.key_id, self._wall(), outcome.renewed)
        self._verified[digest] = outcome
        if len(self._verified) > _MAX_VERIFIED:
            self._verified.popitem(last=False)
        return principal

    def _use(self, verified: Verified, digest: bytes, generation: int) -> Principal:
        """Whom a key that verifies stands for, unless it has ended meanwhile."""
        now, record = self._wall(), verified.record
        fault = fault_now(record, now)
        if fault is not None:
            self._refuse(fault, digest, generation)
        self._uses.note(record.key_id, now)
        return verified.principal

    def _refuse(self, fault: KeyFault, digest: bytes, generation: int) -> NoReturn:
        self._refusals.remember(digest, fault, generation)
        raise InvalidCredential(fault)


def _from_authorization(value: str) -> Presented | None:
    """The key in an `authorization` header; None where it carries none of our form."""
    key = bearer_key(value)
    if key is not None:
        return Presented(header=AUTHORIZATION, credential=key)
    return Presented(header=AUTHORIZATION, credential=value, malformed=True) if is_near_miss(value) else None
