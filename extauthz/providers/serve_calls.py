"""A call of the provider contracts as a backend answers it: bytes in, bytes out."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import DecodeError, Message

from extauthz.errors import ExtauthzError, InvalidRecord
from extauthz.providers.remote_rpc import Rpc
from extauthz.resilience.bounded import within

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)
V = TypeVar("V")


class BadRequest(ExtauthzError):
    """What was sent is not acceptable."""


@dataclass(frozen=True, slots=True)
class Served(Generic[Q, A, V]):
    """One call. `ask` reads the request and asks the backend, `write` makes the answer of what it said."""

    rpc: Rpc[Q, A]
    ask: Callable[[Q], Coroutine[Any, Any, V]]
    write: Callable[[V], A]

    async def answer(self, message: bytes, seconds: float) -> bytes:
        """The answer's bytes, within so many seconds, whatever the backend does.

        Raises:
            BadRequest: the request cannot be read.
            ProviderTimeout: the backend did not answer in time.
            ExtauthzError: whatever else the backend raised.
        """
        try:
            call = self.ask(self.rpc.request.FromString(message))
        except DecodeError:
            raise BadRequest(f"the bytes are no {self.rpc.request.__name__}") from None
        except InvalidRecord as error:
            raise BadRequest(str(error)) from None
        value = await within(seconds, call)
        try:
            return self.write(value).SerializeToString()
        except ValueError as error:
            raise InvalidRecord(f"a value of the backend cannot be written: {error}") from None


AnyServed = Served[Any, Any, Any]
