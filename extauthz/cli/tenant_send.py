"""Sending a file of tenants that has been looked through, in batches, so that it can be begun again at any point."""

import asyncio
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import IO, Final

import orjson

from extauthz.cli.admin import AdminPort
from extauthz.cli.admin_http import AdminHttp, Refused
from extauthz.cli.app import Stop
from extauthz.cli.patience import patiently
from extauthz.cli.screen import Json, at
from extauthz.cli.tenant_rows import Row, RowFormat, Unreadable, read_rows

IN_FLIGHT: Final = 2
"""Batches under way at once: one is written while the next is read."""
MAX_BYTES: Final = 60_000
"""Of one batch; the admin port takes 64 KiB."""
MAX_TENANTS: Final = 1000
MAX_TOLD: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One call: the body to send, and the line of each tenant by its id."""

    body: bytes
    lines: Mapping[str, int]


def batches(rows: Iterable[Row], reason: str) -> Generator[Batch]:
    """The rows in calls as large as they may be.

    Raises:
        Stop: a row is not as it was when the file was looked through.
    """
    head = b'{"reason":' + orjson.dumps(reason) + b',"tenants":['
    texts: list[bytes] = []
    lines: dict[str, int] = {}
    size = len(head)
    for row in _unchanged(rows):
        text = orjson.dumps(row.fields)
        if texts and (size + len(text) > MAX_BYTES or len(texts) == MAX_TENANTS):
            yield Batch(body=head + b",".join(texts) + b"]}", lines=lines)
            texts, lines, size = [], {}, len(head)
        texts.append(text)
        lines[str(row.fields.get("id"))] = row.line
        size += len(text) + 1
    if texts:
        yield Batch(body=head + b",".join(texts) + b"]}", lines=lines)


def _unchanged(rows: Iterable[Row]) -> Iterator[Row]:
    try:
        for row in rows:
            _require_sound(row)
            yield row
    except Unreadable as unreadable:
        told = f"line {unreadable.line}: {unreadable.fault}"
        raise Stop(f"{told}; the file was changed while it was being read") from None


def _require_sound(row: Row) -> None:
    if row.fault:
        raise Unreadable(row.line, row.fault)


class Sending:
    """One import: how many tenants were `created`, and how many were there already (`existing`), so far."""

    def __init__(self, reason: str, total: int, tell: Callable[[int], None]) -> None:
        self.created = 0
        self.existing = 0
        self._reason = reason
        self._total = total
        self._tell = tell

    def run(self, port: AdminPort, file: IO[bytes], form: RowFormat) -> None:
        """Send the whole file.

        Raises:
            Stop: it ended early; the message says how far it came.
        """
        try:
            asyncio.run(self._send(port, batches(read_rows(file, form), self._reason)))
        except KeyboardInterrupt:
            raise Stop(f"interrupted; {self._so_far()}") from None
        except Stop as stop:
            raise Stop(f"{stop.message}; {self._so_far()}") from None

    def _so_far(self) -> str:
        done = self.created + self.existing
        return f"{done} of {self._total} tenants are in ({self.created} created by this run): run the same command again to go on"

    async def _send(self, port: AdminPort, waiting: Generator[Batch]) -> None:
        async with port.connected() as http:
            work = (self._some(http, waiting) for _ in range(IN_FLIGHT))
            for outcome in await asyncio.gather(*work, return_exceptions=True):
                if outcome is not None:
                    raise outcome

    async def _some(self, http: AdminHttp, waiting: Generator[Batch]) -> None:
        """Take batches until there are no more. Where one fails the others finish what they have begun, and take no more."""
        try:
            for batch in waiting:
                self._count(await _ask(http, batch), batch)
        finally:
            waiting.close()

    def _count(self, answer: Json, batch: Batch) -> None:
        created, existing = at(answer, "created"), at(answer, "existing")
        if not (isinstance(created, int) and isinstance(existing, int) and created + existing == len(batch.lines)):
            raise Stop("the answer does not say what became of the tenants; is this the admin port of extauthz?")
        self.created += created
        self.existing += existing
        self._tell(self.created + self.existing)


async def _ask(http: AdminHttp, batch: Batch) -> Json:
    try:
        return await patiently(partial(http.ask, "POST", "/tenants/import", batch.body))
    except Refused as refused:
        raise Stop(_by_line(refused, batch)) from None


def _by_line(refused: Refused, batch: Batch) -> str:
    """What the service has against a batch, in lines of the file where it names tenants."""
    named = at(refused.content, "ids")
    ids = [each for each in named if each in batch.lines] if isinstance(named, list) else []
    if not ids:
        return f"lines {min(batch.lines.values())} to {max(batch.lines.values())}: {refused.message}"
    told = [
        f"line {batch.lines[each]}: tenant {each!r} is there already and is not the same" for each in ids[:MAX_TOLD]
    ]
    more = f", and {len(ids) - MAX_TOLD} more of these" if len(ids) > MAX_TOLD else ""
    return "; ".join(told) + more
