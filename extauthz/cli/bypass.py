"""`extauthz bypass …`."""

from collections.abc import Callable
from typing import Final

import click

from extauthz.cli.admin import AdminPort, reason_option, talks_to_admin
from extauthz.cli.app import Noun
from extauthz.cli.screen import Json, at, items, show_table, word
from extauthz.cli.sure import be_sure

_LONGEST: Final = 24 * 3600.0
_LETS_IN: Final = "Bypass lifecycle? Suspended and terminated tenants get in then, and billing denies nobody. Go on?"


class _Gate(click.Choice[str]):
    """The gates that can be bypassed; whoever tries it with `auth` is told why not."""

    def __init__(self) -> None:
        super().__init__(["lifecycle", "billing", "protection"], case_sensitive=False)

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name of the gate."""
        if value.lower() == "auth":
            self.fail(
                "auth has no bypass: without it nobody would know who is calling; see docs/runbooks/auth-provider-down.md",
                param,
                ctx,
            )
        return super().convert(value, param, ctx)


class _Ttl(click.ParamType[str]):
    """A time as in the configuration, above 0 and not above 24 hours."""

    name = "time"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text itself."""
        from extauthz.config.units import parse_duration  # noqa: PLC0415 - pydantic is slow, and `--help` needs none

        try:
            length = parse_duration(value)
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)
        if not 0 < length <= _LONGEST:
            self.fail(f"{value!r} must be above 0 and at most 24h; where it must last longer, set it again", param, ctx)
        return value


_GATE: Final = _Gate()


@click.group(cls=Noun)
def bypass() -> None:
    """See, set and lift the emergency bypass of a gate, through the admin port.

    A bypassed gate denies nothing and does not call its provider. There is none for auth.

    \b
    Example:
      extauthz bypass set billing --ttl 15m --reason "billing answers SUSPENDED for everybody"
      extauthz bypass lift billing --reason "billing is repaired"
    """  # noqa: D301 - \b is click's mark for a paragraph that keeps its lines


@bypass.command("list", short_help="Show which gates are bypassed.")
@talks_to_admin
def list_(port: AdminPort) -> None:
    """Show each gate that can be bypassed: whether it is, until when, since when, by whom, and why.

    By the `environment` (`BILLING_BYPASS=true` and the like) it is until the service is restarted without.

    \b
    Example:
      extauthz bypass list
      extauthz bypass list --output json
    """  # noqa: D301 - see bypass
    port.show(port.call("GET", "bypass"), _many)


@bypass.command("set", short_help="Let everybody pass a gate, for a time.")
@click.argument("gate", metavar="GATE", type=_GATE)
@click.option("--ttl", type=_Ttl(), required=True, metavar="TIME", help="For how long, such as 15m; at most 24h.")
@click.option("--yes", is_flag=True, help="Do not ask, where it is lifecycle.")
@reason_option
@talks_to_admin
def set_(port: AdminPort, gate: str, ttl: str, reason: str, *, yes: bool) -> None:
    """Let everybody pass GATE (lifecycle, billing or protection) until the time is over or the bypass is lifted. Set again, the new time holds.

    \b
    Example:
      extauthz bypass set billing --ttl 15m --reason "billing answers SUSPENDED for everybody"
    """  # noqa: D301 - see bypass
    if gate == "lifecycle":
        be_sure(_LETS_IN, yes=yes)
    port.show(port.call("PUT", "bypass", gate, body={"ttl": ttl, "reason": reason}), _one(gate))


@bypass.command(short_help="Let a gate decide again.")
@click.argument("gate", metavar="GATE", type=_GATE)
@reason_option
@talks_to_admin
def lift(port: AdminPort, gate: str, reason: str) -> None:
    """End the bypass of GATE (lifecycle, billing or protection) before its time: it decides again.

    \b
    Example:
      extauthz bypass lift billing --reason "billing is repaired"
    """  # noqa: D301 - see bypass
    port.show(port.call("DELETE", "bypass", gate, body={"reason": reason}), _one(gate))


def _one(gate: str) -> Callable[[Json], None]:
    def show(answer: Json) -> None:
        active = at(answer, "active")
        click.echo(f"{gate}: bypassed until {word(at(answer, 'until'))}" if active else f"{gate}: not bypassed")

    return show


def _many(listed: Json) -> None:
    columns = ("gate", "active", "until", "since", "source", "reason")
    show_table(columns, [[at(row, column) for column in columns] for row in items(listed, "bypass")])
