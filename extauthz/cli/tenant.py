"""`extauthz tenant …`."""

import sys

import click

from extauthz.cli.admin import TENANT, TENANT_OR_SYSTEM, AdminPort, reason_option, talks_to_admin
from extauthz.cli.app import Noun
from extauthz.cli.tenant_export import export
from extauthz.cli.tenant_import import import_
from extauthz.cli.tenant_view import show_move, show_page, show_tenant, show_trail
from extauthz.model.billing import BillingState
from extauthz.model.lifecycle import LifecycleState, Onboarding

_STANDING = click.Choice([state.value for state in BillingState], case_sensitive=False)
_ONBOARDING = click.Choice([state.value for state in Onboarding], case_sensitive=False)


@click.group(cls=Noun)
def tenant() -> None:
    """Create, look at and change tenants, through the admin port.

    \b
    Example:
      extauthz tenant create acme --onboarding COMPLETE --reason "new customer"
      extauthz tenant get acme
    """  # noqa: D301 - \b is click's mark for a paragraph that keeps its lines


@tenant.command()
@click.argument("tenant_id", metavar="TENANT", type=TENANT)
@click.option("--name", metavar="TEXT", help="The name that people see. [default: the id]")
@click.option("--plan", metavar="ID", help="The plan. [default: the configured default plan]")
@click.option("--onboarding", type=_ONBOARDING, help="[default: PENDING]")
@click.option("--billing", type=_STANDING, help="The billing state. [default: TRIAL]")
@reason_option
@talks_to_admin
def create(
    port: AdminPort,
    tenant_id: str,
    name: str | None,
    plan: str | None,
    onboarding: str | None,
    billing: str | None,
    reason: str,
) -> None:
    """Add a tenant.

    \b
    Example:
      extauthz tenant create acme --name "Acme Inc." --plan free --onboarding COMPLETE --reason "new customer"
    """  # noqa: D301 - see tenant
    wanted = {"id": tenant_id, "name": name, "plan": plan, "onboarding": onboarding, "billing_state": billing}
    body = {key: value for key, value in wanted.items() if value is not None} | {"reason": reason}
    port.show(port.call("POST", "tenants", body=body), show_tenant)


@tenant.command(short_help="Show a tenant as the gates see it.")
@click.argument("tenant_id", metavar="TENANT", type=TENANT)
@click.option("--fresh", is_flag=True, help="Look past the caches, to see whether look-ups work.")
@talks_to_admin
def get(port: AdminPort, tenant_id: str, *, fresh: bool) -> None:
    """Show a tenant as the gates see it: states, plan, limits, usage.

    \b
    Example:
      extauthz tenant get acme
      extauthz tenant get acme --fresh --output json
    """  # noqa: D301 - see tenant
    port.show(port.call("GET", "tenants", tenant_id, query={"fresh": "1"} if fresh else None), show_tenant)


@tenant.command("list")
@click.option("--after", metavar="ID", type=TENANT, help="Begin after this tenant, the last one of the page before.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="How many at most.")
@talks_to_admin
def list_(port: AdminPort, after: str | None, limit: int) -> None:
    """List tenants in the order of their ids.

    \b
    Example:
      extauthz tenant list --limit 20
    """  # noqa: D301 - see tenant
    query = {"limit": str(limit)} | ({"after": after} if after else {})
    port.show(port.call("GET", "tenants", query=query), show_page)


@tenant.command(short_help="Stop writes and executions; reads go on.")
@click.argument("tenant_id", metavar="TENANT", type=TENANT)
@reason_option
@talks_to_admin
def suspend(port: AdminPort, tenant_id: str, reason: str) -> None:
    """Suspend a tenant: reads go on, writes and executions stop; `resume` undoes it.

    \b
    Example:
      extauthz tenant suspend acme --reason "fraud alert 4711"
    """  # noqa: D301 - see tenant
    _move(port, tenant_id, LifecycleState.SUSPENDED, reason)


@tenant.command()
@click.argument("tenant_id", metavar="TENANT", type=TENANT)
@reason_option
@talks_to_admin
def resume(port: AdminPort, tenant_id: str, reason: str) -> None:
    """Make a suspended tenant ACTIVE again.

    \b
    Example:
      extauthz tenant resume acme --reason "false alarm"
    """  # noqa: D301 - see tenant
    _move(port, tenant_id, LifecycleState.ACTIVE, reason)


@tenant.command(short_help="End a tenant for good.")
@click.argument("tenant_id", metavar="TENANT", type=TENANT)
@click.option("--yes", is_flag=True, help="Do not ask.")
@reason_option
@talks_to_admin
def terminate(port: AdminPort, tenant_id: str, reason: str, *, yes: bool) -> None:
    """End a tenant for good: nothing runs any more and every API key is revoked. There is no way back.

    \b
    Example:
      extauthz tenant terminate acme --reason "contract ended"
    """  # noqa: D301 - see tenant
    if not yes and sys.stdin.isatty():
        click.confirm(f"Terminate {tenant_id} and revoke all its keys? This cannot be undone.", abort=True)
    _move(port, tenant_id, LifecycleState.TERMINATED, reason)


@tenant.command()
@click.argument("tenant_id", metavar="TENANT", type=TENANT)
@reason_option
@talks_to_admin
def archive(port: AdminPort, tenant_id: str, reason: str) -> None:
    """Archive a terminated tenant.

    \b
    Example:
      extauthz tenant archive acme --reason "retention over"
    """  # noqa: D301 - see tenant
    _move(port, tenant_id, LifecycleState.ARCHIVED, reason)


@tenant.command(short_help="Set billing state, plan or both.")
@click.argument("tenant_id", metavar="TENANT", type=TENANT)
@click.option("--state", type=_STANDING, help="The new billing state.")
@click.option("--plan", metavar="ID", help="The new plan.")
@reason_option
@talks_to_admin
def billing(port: AdminPort, tenant_id: str, state: str | None, plan: str | None, reason: str) -> None:
    """Set a tenant's billing state, its plan, or both; what is not given stays as it is.

    \b
    Example:
      extauthz tenant billing acme --state PAST_DUE --reason "invoice 12 unpaid"
      extauthz tenant billing acme --plan free --state ACTIVE --reason "upgrade"
    """  # noqa: D301 - see tenant
    if state is None and plan is None:
        raise click.UsageError("give --state, --plan or both")
    changes = {key: value for key, value in (("state", state), ("plan", plan)) if value is not None}
    port.show(port.call("PUT", "tenants", tenant_id, "billing", body=changes | {"reason": reason}), show_tenant)


@tenant.command(short_help="Complete a tenant's onboarding.")
@click.argument("tenant_id", metavar="TENANT", type=TENANT)
@click.argument("state", type=_ONBOARDING, default=Onboarding.COMPLETE.value)
@reason_option
@talks_to_admin
def onboarding(port: AdminPort, tenant_id: str, state: str, reason: str) -> None:
    """Complete a tenant's onboarding; from then on billing and quota count. There is no way back.

    \b
    Example:
      extauthz tenant onboarding acme --reason "signed up"
    """  # noqa: D301 - see tenant
    body = {"state": state, "reason": reason}
    port.show(port.call("PUT", "tenants", tenant_id, "onboarding", body=body), show_tenant)


@tenant.command(short_help="Show what was changed, by whom and why.")
@click.argument("tenant_id", metavar="TENANT", type=TENANT_OR_SYSTEM)
@talks_to_admin
def history(port: AdminPort, tenant_id: str) -> None:
    """Show what was changed, by whom and why, oldest first; that of `_system` has what concerns no tenant alone.

    \b
    Example:
      extauthz tenant history acme
      extauthz tenant history _system
    """  # noqa: D301 - see tenant
    port.show(port.call("GET", "tenants", tenant_id, "history"), show_trail)


tenant.add_command(import_)
tenant.add_command(export)


def _move(port: AdminPort, tenant_id: str, to: LifecycleState, reason: str) -> None:
    answer = port.call("POST", "tenants", tenant_id, "lifecycle", body={"to": to.value, "reason": reason})
    port.show(answer, lambda moved: show_move(tenant_id, moved))
