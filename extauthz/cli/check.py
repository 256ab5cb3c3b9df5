"""`extauthz check`."""

import click

from extauthz.cli.admin import TENANT, AdminPort, talks_to_admin
from extauthz.cli.screen import Json, at, items, show_facts, show_table


@click.command()
@click.option("--tenant", "tenant_id", required=True, metavar="TENANT", type=TENANT, help="Whose request.")
@click.option("--path", required=True, metavar="PATH", help="The request's path, as a client would send it.")
@click.option("--method", default="GET", show_default=True, metavar="METHOD", help="The request's method.")
@talks_to_admin
def check(port: AdminPort, tenant_id: str, path: str, method: str) -> None:
    """Explain one decision: what would be answered and why. Nothing is charged.

    Exits 0 where the request would be allowed and 1 where it would be denied.

    \b
    Example:
      extauthz check --tenant acme --method POST --path /api/v1/runs
    """  # noqa: D301 - \b is click's mark for a paragraph that keeps its lines
    answer = port.call("POST", "check", body={"tenant": tenant_id, "method": method.upper(), "path": path})
    port.show(answer, _explained)
    if at(answer, "decision") != "allow":
        click.get_current_context().exit(1)


def _explained(decision: Json) -> None:
    names = ("decision", "status", "gate", "reason", "class", "degraded", "retry_after_ms")
    show_facts([(name, at(decision, name)) for name in names if at(decision, name) not in (None, [])])
    columns = ("gate", "verdict", "mode", "source", "age_ms", "shadow", "fallback")
    click.echo()
    show_table(columns, [[at(step, column) for column in columns] for step in items(decision, "steps")])
