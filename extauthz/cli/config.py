"""`extauthz config …`."""

from pathlib import Path

import click

from extauthz.cli.app import Noun
from extauthz.cli.files import checked_config, config_option, load_config, warn
from extauthz.cli.screen import show_json, show_table

_file_argument = click.argument("named", metavar="[FILE]", type=click.Path(path_type=Path), required=False)


@click.group(cls=Noun)
def config() -> None:
    """Show and check the configuration.

    \b
    Example:
      extauthz config show
      extauthz config validate extauthz.yaml
    """  # noqa: D301 - \b is click's mark for a paragraph that keeps its lines


@config.command(short_help="Print the effective configuration.")
@_file_argument
@config_option
@click.option("--output", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True, help="What to print.")
def show(named: Path | None, file: Path | None, output: str) -> None:
    """Print the effective configuration: defaults, file, environment. Passwords in URLs are masked.

    \b
    Example:
      extauthz config show extauthz.yaml
      EXTAUTHZ_PROVIDERS__LIFECYCLE__TIMEOUT=300ms extauthz config show
    """  # noqa: D301 - see config
    loaded = load_config(_one_of(named, file))
    warn(loaded.warnings)
    from extauthz.config import masked, to_yaml  # noqa: PLC0415 - loaded when needed, so that `--help` is quick

    if output == "json":
        show_json(masked(loaded.config))
    else:
        click.echo(to_yaml(loaded.config), nl=False)


@config.command(short_help="Print the JSON Schema.")
def schema() -> None:
    """Print the JSON Schema of the configuration file, for editors.

    \b
    Example:
      extauthz config schema > extauthz.schema.json
    """  # noqa: D301 - see config
    from extauthz.config import schema_text  # noqa: PLC0415 - see show

    click.echo(schema_text())


@config.command(short_help="Check a configuration, and an Envoy bootstrap.")
@_file_argument
@config_option
@click.option(
    "--envoy", "bootstrap", type=click.Path(path_type=Path), metavar="FILE", help="An Envoy bootstrap to check too."
)
@click.option(
    "--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="What to print."
)
def validate(named: Path | None, file: Path | None, bootstrap: Path | None, output: str) -> None:
    """Check a configuration and, with --envoy, an Envoy bootstrap against the hardened set-up.

    Exits 2 where the configuration is not valid or a file cannot be read, 1 where the bootstrap lacks something.

    \b
    Example:
      extauthz config validate extauthz.yaml
      extauthz config validate --config extauthz.yaml --envoy envoy.yaml
    """  # noqa: D301 - see config
    loaded = checked_config(_one_of(named, file))
    warn([*loaded.warnings, *loaded.advice])
    if bootstrap is None:
        _say("the configuration is valid", output)
        return
    from extauthz.cli.envoy_check import findings_in  # noqa: PLC0415 - see show

    findings = findings_in(bootstrap, loaded.config)
    if not findings:
        _say("the configuration and the Envoy bootstrap are in order", output)
        return
    rows = [(str(finding.origin or bootstrap), finding.where, finding.text) for finding in findings]
    if output == "json":
        show_json({"valid": False, "findings": [dict(zip(("at", "where", "what"), row, strict=True)) for row in rows]})
    else:
        show_table(("at", "where", "what"), rows)
    click.get_current_context().exit(1)


def _one_of(named: Path | None, file: Path | None) -> Path | None:
    if named is not None and file is not None:
        raise click.UsageError("give the file once, as argument or with --config")
    return named or file


def _say(text: str, output: str) -> None:
    if output == "json":
        show_json({"valid": True, "findings": []})
    else:
        click.echo(text)
