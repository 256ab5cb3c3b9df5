"""The requests of the outage tests: callers of every kind, whose right answers are known, before an outage and in it."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from tests.open_loop import Answers, Request
from tests.served import Served

GOOD: Final = 20
FORGED: Final = "exak_" + "a" * 24 + "_" + "a" * 52
WITHOUT_KEY: Final = "nobody"

RIGHT: Final = {
    "good": (200, ""),
    "suspended": (403, "suspended"),
    "terminated": (403, "terminated"),
    "unpaid": (402, "suspended"),
    "revoked": (401, "invalid_credentials"),
    "wrong": (401, "invalid_credentials"),
    "forged": (401, "invalid_credentials"),
    WITHOUT_KEY: (401, "missing_credentials"),
}
"""Status and reason by the name of a request."""


async def callers(replica: Served, credentials: Path) -> list[Request]:
    """Requests of new tenants in every state, in turn. `credentials` is the SQLite file with the keys.

    Ending a tenant revokes its keys, which is why nobody ever sees a terminated one with a key that is good. Here it has one: the
    file says so.
    """
    good = [await replica.tenant(f"good-{number}") for number in range(GOOD)]
    keys = {name: await replica.tenant(name) for name in ("suspended", "terminated", "unpaid", "revoked")}
    for name, to in (("suspended", "SUSPENDED"), ("terminated", "TERMINATED")):
        await _done(replica, "POST", f"/tenants/{name}/lifecycle", to=to)
    await _done(replica, "PUT", "/tenants/unpaid/billing", state="SUSPENDED")
    _, content = await replica.admin("GET", "/tenants/revoked/keys")
    await _done(replica, "DELETE", f"/tenants/revoked/keys/{content['keys'][0]['key_id']}")
    with closing(sqlite3.connect(credentials)) as file, file:
        file.execute("UPDATE api_keys SET revoked_at = NULL WHERE tenant_id = 'terminated'")
    keys |= {"wrong": good[0][:-9] + ("b" if good[0][-9] == "a" else "a") + good[0][-8:], "forged": FORGED}
    others = [_request(name, key) for name, key in keys.items()] + [Request(name=WITHOUT_KEY)]
    return [*(_request("good", key) for key in good), *others]


def assert_right(answers: Answers) -> None:
    """That every single answer was the right one."""
    wrong = {outcome: count for outcome, count in answers.outcomes().items() if RIGHT[outcome[0]] != outcome[1:]}
    assert not wrong, wrong


def share_of_good(requests: Sequence[Request]) -> float:
    return sum(1 for each in requests if each.name == "good") / len(requests)


def _request(name: str, key: str) -> Request:
    return Request(name=name, headers={"x-api-key": key})


async def _done(replica: Served, method: str, path: str, **body: str) -> None:
    status, content = await replica.admin(method, path, {**body, "reason": "test"})
    assert status in (200, 204), (status, content)
