"""`extauthz cache …`."""

import click

from extauthz.cli.admin import PROVIDER, TENANT, AdminPort, reason_option, talks_to_admin
from extauthz.cli.app import Noun
from extauthz.cli.screen import Json, at, items, show_table
from extauthz.cli.sure import be_sure


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
    """Show each provider's cache: how many answers it holds, and which part of the look-ups it answers.

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

    \b
    Example:
      extauthz cache clear lifecycle --tenant acme --reason "changed by hand in the database"
      extauthz cache clear billing --yes --reason "plans were corrected in the database"
    """  # noqa: D301 - see cache
    if tenant_id is None:
        be_sure(f"Clear the {provider} cache of all tenants?", yes=yes)
    query = None if tenant_id is None else {"tenant": tenant_id}
    answer = port.call("DELETE", "caches", provider, body={"reason": reason}, query=query)
    port.show(answer, lambda _: click.echo(f"{provider}: the cache of {tenant_id or 'all tenants'} is cleared"))


def _many(listed: Json) -> None:
    columns = ("provider", "entries", "hit rate")
    show_table(columns, [_row(row) for row in items(listed, "caches")])


def _row(row: object) -> tuple[object, ...]:
    rate = at(row, "hit_rate")
    shown = f"{rate:.1%}" if isinstance(rate, int | float) else None
    return (at(row, "provider"), at(row, "entries"), shown)
