"""API keys as messages of the provider contracts, and back. What has been sent by others is checked here."""

from collections.abc import Sequence

from extauthz._gen.provider.v1 import credentials_pb2
from extauthz.errors import InvalidRecord
from extauthz.model.identity import ApiKey, KeyUse
from extauthz.providers.remote_change_messages import read_id, read_time


def write_key(key: ApiKey) -> credentials_pb2.ApiKey:
    """A key."""
    return credentials_pb2.ApiKey(
        key_id=key.key_id,
        tenant_id=key.tenant_id,
        secret_hash=key.secret_hash,
        mac_pepper=key.mac_pepper,
        hash_pepper=key.hash_pepper,
        scopes=sorted(key.scopes),
        created_at=key.created_at,
        expires_at=key.expires_at,
        last_used_at=key.last_used_at,
        revoked_at=key.revoked_at,
    )


def read_key(message: credentials_pb2.ApiKey) -> ApiKey:
    """A key.

    Raises:
        InvalidRecord: it cannot be read.
    """
    return ApiKey(
        key_id=read_id(message.key_id),
        tenant_id=read_id(message.tenant_id),
        secret_hash=message.secret_hash,
        mac_pepper=message.mac_pepper,
        hash_pepper=message.hash_pepper,
        scopes=frozenset(message.scopes),
        created_at=read_time(message.created_at),
        expires_at=read_time(message.expires_at) if message.HasField("expires_at") else None,
        last_used_at=read_time(message.last_used_at) if message.HasField("last_used_at") else None,
        revoked_at=read_time(message.revoked_at) if message.HasField("revoked_at") else None,
    )


def write_key_answer(key: ApiKey | None) -> credentials_pb2.FindKeyResponse:
    """The answer to a look-up; None: there is no such key."""
    if key is None:
        return credentials_pb2.FindKeyResponse(no_such_key=credentials_pb2.NoSuchKey())
    return credentials_pb2.FindKeyResponse(key=write_key(key))


def read_key_answer(message: credentials_pb2.FindKeyResponse) -> ApiKey | None:
    """The answer to a look-up; None: there is no such key.

    Raises:
        InvalidRecord: it cannot be read, or says nothing.
    """
    match message.WhichOneof("answer"):
        case "key":
            return read_key(message.key)
        case "no_such_key":
            return None
    raise InvalidRecord("an answer says neither what the key is nor that there is none")


def write_uses(uses: Sequence[KeyUse]) -> credentials_pb2.RecordUsesRequest:
    """Uses of keys."""
    return credentials_pb2.RecordUsesRequest(
        uses=[
            credentials_pb2.KeyUse(
                key_id=use.key_id, used_at=use.used_at, secret_hash=use.secret_hash, hash_pepper=use.hash_pepper
            )
            for use in uses
        ]
    )


def read_uses(message: credentials_pb2.RecordUsesRequest) -> list[KeyUse]:
    """Uses of keys.

    Raises:
        InvalidRecord: one of them cannot be read.
    """
    return [
        KeyUse(
            key_id=read_id(use.key_id),
            used_at=read_time(use.used_at),
            secret_hash=use.secret_hash if use.HasField("secret_hash") else None,
            hash_pepper=use.hash_pepper if use.HasField("hash_pepper") else None,
        )
        for use in message.uses
    ]
