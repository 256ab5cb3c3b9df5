"""`extauthz breaker …`."""

from typing import Final

import click

from extauthz.cli.admin import PROVIDER, AdminPort, reason_option, talks_to_admin
from extauthz.cli.app import Noun
from extauthz.cli.screen import Json, at, items, seconds, show_table, word
from extauthz.cli.sure import be_sure

_SHUTS_OUT: Final = "Open the circuit of credentials? Every key that is not cached is denied (503) then. Go on?"


@click.group(cls=Noun)
def breaker() -> None:
    """See and set the circuit breakers of the providers, through the admin port.

    \b
    Example:
      extauthz breaker list
      extauthz breaker close lifecycle --reason "the database is back"
    """  # noqa: D301 - \b is click's mark for a paragraph that keeps its lines


@breaker.command("list", short_help="Show which circuits are open.")
@talks_to_admin
def list_(port: AdminPort) -> None:
    """Show each provider's circuit: its state, the failures that count, for how long it is open, when it is tried again.

    \b
    Example:
      extauthz breaker list
      extauthz breaker list --output json
    """  # noqa: D301 - see breaker
    port.show(port.call("GET", "breakers"), _many)


@breaker.command(short_help="Ask a provider again at once.")
@click.argument("provider", metavar="PROVIDER", type=PROVIDER)
@reason_option
@talks_to_admin
def close(port: AdminPort, provider: str, reason: str) -> None:
    """Close the circuit of PROVIDER (credentials, lifecycle, billing or protection).

    The provider is asked again at once. Where it still fails, the circuit opens again by its rule.

    \b
    Example:
      extauthz breaker close lifecycle --reason "the database is back"
    """  # noqa: D301 - see breaker
    _set(port, provider, "close", reason)


@breaker.command("open", short_help="Stop asking a provider for now.")
@click.argument("provider", metavar="PROVIDER", type=PROVIDER)
@click.option("--yes", is_flag=True, help="Do not ask, where it is that of credentials.")
@reason_option
@talks_to_admin
def open_(port: AdminPort, provider: str, reason: str, *, yes: bool) -> None:
    """Open the circuit of PROVIDER (credentials, lifecycle, billing or protection).

    It is not asked until its reset time is over; then it is tried, as after a failure.

    Its gate answers as in an outage meanwhile. An open circuit of `credentials` denies every key that is not cached.

    \b
    Example:
      extauthz breaker open billing --reason "the billing system is being moved"
    """  # noqa: D301 - see breaker
    if provider == "credentials":
        be_sure(_SHUTS_OUT, yes=yes)
    _set(port, provider, "open", reason)


def _set(port: AdminPort, provider: str, action: str, reason: str) -> None:
    answer = port.call("POST", "breakers", provider, action, body={"reason": reason})
    port.show(answer, lambda shown: click.echo(f"{provider}: the circuit is {word(at(shown, 'state'))}"))


def _many(listed: Json) -> None:
    columns = ("provider", "state", "failures", "open for", "tried again in")
    show_table(columns, [_row(row) for row in items(listed, "breakers")])


def _row(row: object) -> tuple[object, ...]:
    times = (seconds(at(row, "opened_for_ms")), seconds(at(row, "retry_in_ms")))
    return (at(row, "provider"), at(row, "state"), at(row, "failures"), *times)
