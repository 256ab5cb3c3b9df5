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
from extauthz.cli.patience import PASSING, patiently
from extauthz.cli.screen import Json, at
from extauthz.cli.tenant_rows import Row, RowFormat, Unreadable, read_rows

IN_FLIGHT: Final = 2
"""Batches under way at once: one is written while the next is read."""
MAX_BYTES: Final = 60_000
"""Of one batch; the admin port takes 64 KiB."""
MAX_TENANTS: Final = 1000
MAX_TOLD: Final = 20

_AGAIN: Final = "run the same command again to go on"
_MENDED: Final = "; once that is put right, the same command goes on"
_KEEP: Final = (
    " and nothing of this batch: --on-conflict keep leaves those that are there as they are and adds the others"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One call: the body to send, and the line of each tenant by its id."""

    body: bytes
    lines: Mapping[str, int]


def batches(rows: Iterable[Row], reason: str, *, keep: bool = False) -> Generator[Batch]:
    """The rows in calls as large as they may be. With `keep` tenants that are there and differ stay as they are.

    Raises:
        Stop: a row is not as it was when the file was looked through.
    """
    head = b'{"reason":' + orjson.dumps(reason) + (b',"on_conflict":"keep"' if keep else b"") + b',"tenants":['
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


class Halt(Stop):
    """A batch that is not in, and what helps."""

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.advice = advice


class Sending:
    """One import: how many tenants were `created`, and how many were there already (`existing`), so far.

    With `keep`, `kept` counts those that are there, are not the same and stay as they are; `kept_lines` tells some of them.
    """

    def __init__(self, reason: str, total: int, tell: Callable[[int], None], *, keep: bool = False) -> None:
        self.created = 0
        self.existing = 0
        self.kept = 0
        self.kept_lines: list[str] = []
        self._keep = keep
        self._reason = reason
        self._total = total
        self._tell = tell

    def run(self, port: AdminPort, file: IO[bytes], form: RowFormat) -> None:
        """Send the whole file.

        Raises:
            Stop: it ended early; the message says how far it came.
        """
        try:
            asyncio.run(self._send(port, batches(read_rows(file, form), self._reason, keep=self._keep)))
        except KeyboardInterrupt:
            raise Stop(f"interrupted; {self._so_far()}: {_AGAIN}") from None
        except Halt as halt:
            raise Stop(f"{halt.message}; {self._so_far()}{halt.advice}") from None
        except Stop as stop:
            raise Stop(f"{stop.message}; {self._so_far()}: {_AGAIN}") from None

    def _so_far(self) -> str:
        return f"{self._done} of {self._total} tenants are in ({self.created} created by this run)"

    @property
    def _done(self) -> int:
        return self.created + self.existing + self.kept

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
        created, existing, kept = at(answer, "created"), at(answer, "existing"), at(answer, "kept") or []
        if not (
            isinstance(created, int)
            and isinstance(existing, int)
            and isinstance(kept, list)
            and created + existing + len(kept) == len(batch.lines)
        ):
            raise Stop("the answer does not say what became of the tenants; is this the admin port of extauthz?")
        self.created += created
        self.existing += existing
        self.kept += len(kept)
        room = MAX_TOLD - len(self.kept_lines)
        self.kept_lines += _told([each for each in kept if each in batch.lines][:room], batch)
        self._tell(self._done)


async def _ask(http: AdminHttp, batch: Batch) -> Json:
    try:
        return await patiently(partial(http.ask, "POST", "/tenants/import", batch.body))
    except Refused as refused:
        raise halted(refused, batch) from None


def halted(refused: Refused, batch: Batch) -> Halt:
    """What the service has against a batch, in lines of the file where it names tenants, and what helps."""
    named = at(refused.content, "ids")
    ids = [each for each in named if each in batch.lines] if isinstance(named, list) else []
    if ids:
        more = f", and {len(ids) - MAX_TOLD} more of these" if len(ids) > MAX_TOLD else ""
        return Halt("; ".join(_told(ids[:MAX_TOLD], batch)) + more, _KEEP)
    lines = f"lines {min(batch.lines.values())} to {max(batch.lines.values())}"
    return Halt(f"{lines}: {refused.message}", f": {_AGAIN}" if refused.status in PASSING else _MENDED)


def _told(ids: Iterable[str], batch: Batch) -> list[str]:
    return [f"line {batch.lines[each]}: tenant {each!r} is there already and is not the same" for each in ids]
