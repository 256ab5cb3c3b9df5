"""`extauthz envoy …`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from extauthz.cli.app import Noun
from extauthz.cli.files import config_option, load_config, warn

if TYPE_CHECKING:
    from extauthz.config import Address


@click.group(cls=Noun)
def envoy() -> None:
    """Make an Envoy configuration for this service.

    \b
    Example:
      extauthz envoy bootstrap > envoy.yaml
    """  # noqa: D301 - \b is click's mark for a paragraph that keeps its lines


@envoy.command(short_help="Print a hardened Envoy bootstrap.")
@config_option
@click.option("--listen", metavar="ADDRESS", default="127.0.0.1:10000", show_default=True, help="Where Envoy listens.")
@click.option(
    "--envoy-admin", metavar="ADDRESS", default="127.0.0.1:9901", show_default=True, help="Envoy's own admin port."
)
@click.option(
    "--upstream", metavar="ADDRESS", default="127.0.0.1:8080", show_default=True, help="The API behind Envoy."
)
def bootstrap(file: Path | None, listen: str, envoy_admin: str, upstream: str) -> None:
    """Print a hardened Envoy bootstrap that asks the service where this configuration has it listen.

    \b
    Example:
      extauthz envoy bootstrap --upstream 127.0.0.1:3000 > envoy.yaml
      envoy -c envoy.yaml
    """  # noqa: D301 - see envoy
    loaded = load_config(file)
    warn(loaded.warnings)
    for option, text in (("--listen", listen), ("--envoy-admin", envoy_admin), ("--upstream", upstream)):
        _require_address(option, text)
    from extauthz.bootstrap import BootstrapOptions, to_yaml  # noqa: PLC0415 - over half a second, only here

    server = loaded.config.server
    options = BootstrapOptions(
        listen=listen,
        admin=envoy_admin,
        upstream=upstream,
        checks=(_seen_from_here(server.listen),),
        timeout=server.budget,
        max_checks=server.max_checks,
    )
    click.echo(to_yaml(options), nl=False)


def _seen_from_here(listen: "Address") -> str:
    """Where an Envoy on the same machine finds a service that listens on all addresses."""
    return f"127.0.0.1:{listen.port}" if listen.host in ("0.0.0.0", "::") else str(listen)  # noqa: S104 - read, not bound


def _require_address(option: str, text: str) -> None:
    from extauthz.config.address import parse_address  # noqa: PLC0415 - loaded when needed, so that `--help` is quick

    try:
        parse_address(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from None
