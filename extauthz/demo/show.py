"""What the demo prints."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from extauthz.demo.cast import CAST, OPERATOR
from extauthz.demo.stack import Stack
from extauthz.demo.tour import Outcome


def outcomes(console: Console, walked: Sequence[Outcome]) -> None:
    """The tour as a table of request, expected and got."""
    table = Table(title="Requests through Envoy", title_justify="left")
    for column in ("what", "key of", "request", "expected", "got", ""):
        table.add_column(column, overflow="fold")
    for outcome in walked:
        step = outcome.step
        table.add_row(
            step.says,
            step.who or "-",
            f"{step.method} {step.path}",
            _words(step.status, step.gate, step.reason),
            _words(outcome.status, outcome.gate, outcome.reason),
            "[green]ok[/]" if outcome.as_expected else "[bold red]DIFFERENT[/]",
        )
    console.print(table)


def _words(status: int, gate: str, reason: str) -> str:
    return " ".join(word for word in (str(status), gate, reason) if word)


def invitation(console: Console, stack: Stack, keys: Mapping[str, str]) -> None:
    """Who there is, and commands to try."""
    table = Table(title="Tenants to be", title_justify="left")
    for column in ("tenant", "shows", "its key"):
        table.add_column(column, overflow="fold")
    for character in CAST:
        table.add_row(character.tenant_id, character.shows, keys[character.tenant_id])
    table.add_row(OPERATOR, "an operator's key: /fdr passes, tenants' paths don't", keys[OPERATOR])
    console.print(table)
    console.print("\nEnvoy listens, extauthz decides, an echo server answers with what reached it. Try:\n")
    for comment, command in _commands(stack, keys):
        console.print(f"  [dim]# {comment}[/]")
        console.print(f"  {command}\n", soft_wrap=True, markup=False, highlight=False)
    console.print("Ctrl-C ends everything and leaves nothing behind.")


def _commands(stack: Stack, keys: Mapping[str, str]) -> list[tuple[str, str]]:
    edge, admin = stack.edge_url, stack.admin_url
    with_token = f"EXTAUTHZ_ADMIN_TOKEN={stack.token} extauthz --admin {admin}"
    return [
        (
            "allowed: look at the headers that reached the upstream",
            f"curl -s -H 'x-api-key: {keys['acme']}' {edge}/api/v1/things",
        ),
        ("denied: no key", f"curl -si {edge}/api/v1/things"),
        ("denied: billing suspended", f"curl -si -X POST -H 'x-api-key: {keys['unpaid']}' {edge}/api/v1/runs"),
        (
            "allowed three times, then denied: rate",
            f"for i in 1 2 3 4; do curl -so /dev/null -w '%{{http_code}}\\n' -H 'x-api-key: {keys['steady']}' {edge}/api/v1/things; done",
        ),
        (
            "explain a decision without making it",
            f"{with_token} check --tenant paused --method POST --path /api/v1/things",
        ),
        ("suspend a tenant, and try its key again", f"{with_token} tenant suspend acme --reason 'trying it out'"),
        ("what it counts", f"curl -s {admin}/metrics | grep ^checks_total"),
    ]
