"""`extauthz key …`."""

import click

from extauthz.cli.admin import TENANT, AdminPort, reason_option, talks_to_admin
from extauthz.cli.app import Noun
from extauthz.cli.screen import Json, at, items, show_table, word


@click.group(cls=Noun)
def key() -> None:
    """Issue, list and revoke API keys, through the admin port.

    \b
    Example:
      extauthz key create acme --reason "first key"
      extauthz key list acme
    """  # noqa: D301 - \b is click's mark for a paragraph that keeps its lines


@key.command(short_help="Issue a key; it is shown this once.")
@click.argument("tenant_id", metavar="[TENANT]", type=TENANT, required=False)
@click.option("--operator", is_flag=True, help="An operator's key instead of a tenant's.")
@click.option(
    "--scope", "scopes", multiple=True, metavar="SCOPE", help="A scope of the key; may be given more than once."
)
@click.option("--expires-in", metavar="TIME", help="When it ends, such as 12h or 90d. [default: never]")
@reason_option
@talks_to_admin
def create(
    port: AdminPort,
    tenant_id: str | None,
    scopes: tuple[str, ...],
    expires_in: str | None,
    reason: str,
    *,
    operator: bool,
) -> None:
    """Issue a key. It is shown this once and kept nowhere.

    \b
    Example:
      extauthz key create acme --scope runs:write --expires-in 90d --reason "ci"
      extauthz key create --operator --reason "on-call"
    """  # noqa: D301 - see key
    if operator == (tenant_id is not None):
        raise click.UsageError("give a TENANT or --operator, and not both")
    if operator and scopes:
        raise click.UsageError("an operator's key has the scope `operator` and no other: leave --scope out")
    body: dict[str, object] = {"reason": reason}
    if scopes:
        body["scopes"] = list(scopes)
    if expires_in is not None:
        body["expires_in"] = expires_in
    path = ("operators", "keys") if tenant_id is None else ("tenants", tenant_id, "keys")
    port.show(port.call("POST", *path, body=body), _issued)


@key.command("list", short_help="List a tenant's keys.")
@click.argument("tenant_id", metavar="TENANT", type=TENANT)
@talks_to_admin
def list_(port: AdminPort, tenant_id: str) -> None:
    """List a tenant's keys, revoked ones too. The keys themselves are kept nowhere.

    \b
    Example:
      extauthz key list acme
    """  # noqa: D301 - see key
    port.show(port.call("GET", "tenants", tenant_id, "keys"), _many)


@key.command(short_help="Revoke one key.")
@click.argument("tenant_id", metavar="TENANT", type=TENANT)
@click.argument("key_id", metavar="KEY_ID")
@reason_option
@talks_to_admin
def revoke(port: AdminPort, tenant_id: str, key_id: str, reason: str) -> None:
    """Revoke one key; `key list` shows the ids.

    \b
    Example:
      extauthz key revoke acme abcdefghijklmnop --reason "laptop lost"
    """  # noqa: D301 - see key
    if not (key_id.isascii() and key_id.isalnum()):
        raise click.UsageError("KEY_ID is the id that `extauthz key list` shows, not the key itself")
    answer = port.call("DELETE", "tenants", tenant_id, "keys", key_id, body={"reason": reason})
    port.show(answer, lambda _: click.echo(f"{tenant_id}: key {key_id} is revoked"))


def _issued(issued: Json) -> None:
    # The key stands alone on standard output, so that `KEY=$(extauthz key create …)` works.
    click.echo(f"key id {word(at(issued, 'key_id'))}; the key is shown this once:", err=True)
    click.echo(word(at(issued, "key")))


def _many(listed: Json) -> None:
    columns = (
        "key_id",
        "scopes",
        "created_at",
        "expires_at",
        "last_used_at",
        "revoked_at",
        "mac_pepper",
        "hash_pepper",
    )
    show_table(columns, [[at(row, column) for column in columns] for row in items(listed, "keys")])
