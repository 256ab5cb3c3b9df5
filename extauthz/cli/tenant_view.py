"""What `extauthz tenant …` shows."""

import click

from extauthz.cli.screen import Json, at, items, show_facts, show_table, word


def show_move(tenant_id: str, moved: Json) -> None:
    """A lifecycle move in one line."""
    keys = at(moved, "revoked_keys")
    revoked = f", {word(keys)} {'key' if keys == 1 else 'keys'} revoked" if keys else ""
    pending = f", not yet confirmed by {word(at(moved, 'pending_replicas'))}" if at(moved, "pending_replicas") else ""
    same = at(moved, "from") == at(moved, "to")
    step = f"was {word(at(moved, 'to'))} already" if same else f"{word(at(moved, 'from'))} -> {word(at(moved, 'to'))}"
    click.echo(f"{tenant_id}: {step}{revoked}{pending}")


def show_tenant(shown: Json) -> None:
    """One tenant as the gates see it."""
    show_facts(
        [
            ("tenant", at(shown, "id")),
            ("name", at(shown, "name")),
            ("onboarding", at(shown, "onboarding")),
            ("lifecycle", _state(at(shown, "lifecycle"))),
            ("billing", _state(at(shown, "billing"))),
            ("plan", at(shown, "billing", "plan")),
            ("rate", _limit(at(shown, "limits", "rate"), " a minute")),
            ("burst", _limit(at(shown, "limits", "burst"), " a second")),
            ("requests today", _used(shown, "requests_today", "max_requests_per_day")),
            ("cost today", _used(shown, "cost_today", "max_cost_per_day")),
        ]
    )


def _state(part: object) -> str:
    age = at(part, "age_ms")
    origin = word(at(part, "source")) + (f", {age / 1000:g} s old" if isinstance(age, int | float) else "")
    return f"{word(at(part, 'state'))} ({origin})"


def _limit(limit: object, unit: str) -> str:
    return "unlimited" if limit is None else f"{limit}{unit}"


def _used(shown: Json, used: str, limit: str) -> str:
    return f"{word(at(shown, 'usage', used))} of {_limit(at(shown, 'limits', limit), '')}"


def show_page(page: Json) -> None:
    """A page of tenants; how to get the next one goes to standard error."""
    columns = ("id", "name", "onboarding", "lifecycle", "created_at")
    show_table(columns, [[at(row, column) for column in columns] for row in items(page, "tenants")])
    if at(page, "next") is not None:
        click.echo(f"more: extauthz tenant list --after {word(at(page, 'next'))}", err=True)


def show_trail(trail: Json) -> None:
    """The audit trail."""
    rows = [
        (at(row, "at"), at(row, "what"), at(row, "from"), at(row, "to"), at(row, "actor", "id"), at(row, "reason"))
        for row in items(trail, "history")
    ]
    show_table(("at", "what", "from", "to", "who", "why"), rows)
