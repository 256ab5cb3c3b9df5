"""`extauthz usage …` and `extauthz ratelimits …`."""

import click

from extauthz.cli.admin import TENANT, AdminPort, reason_option, talks_to_admin
from extauthz.cli.app import Noun
from extauthz.cli.screen import at, word
from extauthz.cli.sure import OR_ONE, be_sure


@click.group(cls=Noun)
def usage() -> None:
    """Report cost that is known only afterwards, through the admin port.

    \b
    Example:
      extauthz usage report acme --cost 1.25 --idempotency-key run-17
    """  # noqa: D301 - \b is click's mark for a paragraph that keeps its lines


@usage.command(short_help="Add to a tenant's cost of today.")
@click.argument("tenant_id", metavar="TENANT", type=TENANT)
@click.option("--cost", required=True, metavar="DECIMAL", help="How much, such as 1.25; at most 6 decimal places.")
@click.option(
    "--idempotency-key", "key", required=True, metavar="TEXT", help="The same again within a day adds nothing."
)
@talks_to_admin
def report(port: AdminPort, tenant_id: str, cost: str, key: str) -> None:
    """Add to a tenant's cost of today (UTC). It is counted whatever the limit; what is over it denies later requests.

    \b
    Example:
      extauthz usage report acme --cost 1.25 --idempotency-key run-17
    """  # noqa: D301 - see usage
    answer = port.call("POST", "usage", body={"tenant": tenant_id, "cost": cost, "idempotency_key": key})
    port.show(answer, lambda shown: click.echo(f"{tenant_id}: cost today {word(at(shown, 'cost_today'))}"))


@click.group(cls=Noun)
def ratelimits() -> None:
    """Clear rate-limit state, through the admin port.

    \b
    Example:
      extauthz ratelimits clear --tenant acme --reason "load test over"
    """  # noqa: D301 - see usage


@ratelimits.command(short_help="Forget what was counted, of one tenant or of all.")
@click.option("--tenant", "tenant_id", metavar="TENANT", type=TENANT, help="Whose. [default: everybody's]")
@click.option("--yes", is_flag=True, help="Do not ask, where it is everybody's.")
@reason_option
@talks_to_admin
def clear(port: AdminPort, tenant_id: str | None, reason: str, *, yes: bool) -> None:
    """Forget rate and burst state and the counts of today: whoever was over a limit may go on at once.

    \b
    Example:
      extauthz ratelimits clear --tenant acme --reason "load test over"
      extauthz ratelimits clear --yes --reason "limits were counted wrongly"
    """  # noqa: D301 - see usage
    if tenant_id is None:
        be_sure("Clear the rate-limit state and today's counts of all tenants?", yes=yes, instead=OR_ONE)
    query = None if tenant_id is None else {"tenant": tenant_id}
    answer = port.call("DELETE", "ratelimits", body={"reason": reason}, query=query)
    port.show(answer, lambda _: click.echo(f"{tenant_id or 'all tenants'}: rate-limit state is cleared"))
