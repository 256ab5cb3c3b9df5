"""The command itself: which nouns there are, and what becomes of errors."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

import click

from extauthz import __version__
from extauthz.errors import ConfigError, ExtauthzError

_NOUNS: Final = {
    "serve": ("extauthz.cli.serve:serve", "Run the service."),
    "demo": ("extauthz.cli.demo:demo", "Try everything on this machine, with a real Envoy."),
    "tenant": ("extauthz.cli.tenant:tenant", "Create, look at and change tenants."),
    "key": ("extauthz.cli.key:key", "Issue, list and revoke API keys."),
    "usage": ("extauthz.cli.limits:usage", "Report cost that is known only afterwards."),
    "ratelimits": ("extauthz.cli.limits:ratelimits", "Clear rate-limit state."),
    "breaker": ("extauthz.cli.breaker:breaker", "See and set the circuit breakers of the providers."),
    "cache": ("extauthz.cli.cache:cache", "See and clear what is remembered of the providers' answers."),
    "bypass": ("extauthz.cli.bypass:bypass", "Emergency: let everybody pass a gate for a time."),
    "check": ("extauthz.cli.check:check", "Explain one decision."),
    "config": ("extauthz.cli.config:config", "Show and check the configuration."),
    "db": ("extauthz.cli.db:db", "Bring databases up to date, and check them."),
    "provider": ("extauthz.cli.provider:provider", "Serve the provider contracts over gRPC."),
    "envoy": ("extauthz.cli.envoy:envoy", "Make an Envoy configuration."),
}


class Stop(click.ClickException):
    """The command ran and failed: exit code 1 and a message for the user."""

    exit_code = 1

    def show(self, file: Any = None) -> None:
        """Write the message to standard error."""
        click.echo(f"error: {self.format_message()}", err=True, file=file)


class BadConfiguration(Stop):
    """Exit code 2, as for wrong usage."""

    exit_code = 2


class _Group(click.Group):
    """A group that tells of a command that it does not have which one was meant, or which there are."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is named first."""
        if (
            args
            and not ctx.resilient_parsing
            and not args[0].startswith("-")
            and self.get_command(ctx, args[0]) is None
        ):
            ctx.fail(_no_such(ctx.command_path, args, self.list_commands(ctx)))
        return super().resolve_command(ctx, args)


def _no_such(path: str, args: list[str], names: list[str]) -> str:
    """What to say of a first word that is none of `names`; words in the wrong order are shown in the right one."""
    from extauthz.config.problems import did_you_mean  # noqa: PLC0415 - pydantic is slow, and nothing else here needs it

    given, *rest = args
    swapped = rest and rest[0] in names
    hint = f"did you mean {path} {rest[0]} {given}?" if swapped else did_you_mean(given, names)
    return " ".join(filter(None, (f"No such command {given!r};", hint, f"there are: {', '.join(names)}")))


class Noun(_Group):
    """A group that lists its commands in the order in which they are written."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names in order."""
        return list(self.commands)


class _Nouns(_Group):
    """A group that imports a command only when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_NOUNS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in _NOUNS:
            return None
        module, _, name = _NOUNS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _NOUNS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        with told_plainly():
            return super().invoke(ctx)


@contextmanager
def told_plainly() -> Iterator[None]:
    """Errors become one message and an exit code; a fault of ours shows its traceback in Python's developer mode only."""
    try:
        yield
    except ConfigError as error:
        raise BadConfiguration(str(error)) from None
    except ExtauthzError as error:
        raise Stop(str(error)) from None
    except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
        raise  # click has an end for each of these
    except Exception as error:
        if sys.flags.dev_mode:
            raise
        raise Stop(f"internal error ({type(error).__name__}); `python -X dev -m extauthz …` shows where") from None


@click.group(cls=_Nouns, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="extauthz", message="%(prog)s %(version)s")
def cli() -> None:
    """Answer Envoy's external-authorization questions: who is calling, and may this request go on?

    \b
    Start the service with the embedded defaults, make a tenant and a key, ask what would be decided:
      export EXTAUTHZ_ADMIN_TOKEN=choose-a-long-one
      extauthz serve &
      extauthz tenant create acme --onboarding COMPLETE --reason "new customer"
      extauthz key create acme --reason "first key"
      extauthz check --tenant acme --method POST --path /api/v1/runs

    \b
    Exit codes: 0 done (or allowed), 1 ran and failed (or denied), 2 wrong usage or configuration.
    """  # noqa: D301 - \b is click's mark for a paragraph that keeps its lines
