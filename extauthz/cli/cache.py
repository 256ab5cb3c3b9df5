"""`extauthz cache …`."""

import click

from extauthz.cli.admin import PROVIDER, TENANT, AdminPort, reason_option, talks_to_admin
from extauthz.cli.app import Noun
from extauthz.cli.screen import Json, at, items, show_table, word
from extauthz.cli.sure import OR_ONE, be_sure


@click.group(cls=Noun)
def cache() -> None:
    """See and clear what is remembered of the providers' answers, through the admin port.

    \b
    Example:
      extauthz cache list
      extauthz cache clear lifecycle --tenant acme --reason "changed by hand in the database"
    """  # noqa: D301 - \b is click's mark for a paragraph that keeps its lines


@cache.command("list", short_help="Show how full and how useful each cache is.")
@talks_to_admin
def list_(port: AdminPort) -> None:
    """Show the caches of one process: how many answers each holds, and which part of what was asked it answered.

    Counts are since the start. `refused` are refusals that are remembered: of credentials, and of charges.

    \b
    Example:
      extauthz cache list
      extauthz cache list --output json
    """  # noqa: D301 - see cache
    port.show(port.call("GET", "caches"), _many)


@cache.command(short_help="Forget what was answered, for one tenant or for all.")
@click.argument("provider", metavar="PROVIDER", type=PROVIDER)
@click.option("--tenant", "tenant_id", metavar="TENANT", type=TENANT, help="Whose. [default: everybody's]")
@click.option("--yes", is_flag=True, help="Do not ask, where it is everybody's.")
@reason_option
@talks_to_admin
def clear(port: AdminPort, provider: str, tenant_id: str | None, reason: str, *, yes: bool) -> None:
    """Forget what PROVIDER (credentials, lifecycle, billing or protection) answered, so that it is asked anew.

    While the provider is down, what is forgotten is not there to stand in for it: clear caches after an outage, not in one.
    Only what denies stays as last known, until the provider says otherwise.

    \b
    Example:
      extauthz cache clear lifecycle --tenant acme --reason "changed by hand in the database"
      extauthz cache clear billing --yes --reason "plans were corrected in the database"
    """  # noqa: D301 - see cache
    if tenant_id is None:
        be_sure(
            f"In an outage nothing stands in for it. Clear the {provider} cache of all tenants?",
            yes=yes,
            instead=OR_ONE,
        )
    query = None if tenant_id is None else {"tenant": tenant_id}
    answer = port.call("DELETE", "caches", provider, body={"reason": reason}, query=query)
    port.show(answer, lambda shown: _cleared(provider, tenant_id, shown))


def _cleared(provider: str, tenant_id: str | None, shown: Json) -> None:
    cleared, kept = at(shown, "cleared"), at(shown, "kept")
    stay = f"; {word(kept)} that deny stay as last known" if kept else ""
    what = f"{word(cleared)} {'answer' if cleared == 1 else 'answers'} cleared"
    click.echo(f"{provider}: {what} for {tenant_id or 'all tenants'}{stay}")


def _many(listed: Json) -> None:
    columns = ("provider", "operation", "entries", "max_entries", "hits", "misses", "stale")
    rows = [(*(at(row, column) for column in columns), _part(at(row, "hit_rate"))) for row in items(listed, "caches")]
    show_table((*columns, "hit rate"), rows)


def _part(rate: object) -> str | None:
    return f"{rate:.1%}" if isinstance(rate, int | float) else None
