"""`extauthz serve`."""

import asyncio
import os
import signal
from pathlib import Path

import click

from extauthz.cli.files import checked_config, config_option, load_config, warn
from extauthz.cli.ports import require_free


@click.command()
@config_option
@click.option("--validate", is_flag=True, help="Check the configuration, say what will surprise somebody, and end.")
@click.option("--listen", metavar="ADDRESS", help="Where Envoy finds the service (server.listen).")
@click.option("--admin-listen", metavar="ADDRESS", help="Where the admin port listens (admin.listen).")
@click.option("--reflection", is_flag=True, help="Switch gRPC server reflection on (server.reflection).")
def serve(file: Path | None, listen: str | None, admin_listen: str | None, *, validate: bool, reflection: bool) -> None:
    """Run the service until SIGTERM or Ctrl-C.

    Without a file it runs with the embedded defaults; EXTAUTHZ_... variables override the file, flags override both. SIGHUP or
    a changed file reloads gates, routes, plans and limits; a file with faults changes nothing. The admin port serves changes
    only where EXTAUTHZ_ADMIN_TOKEN or admin.token_file is set.

    \b
    Example:
      EXTAUTHZ_ADMIN_TOKEN=choose-a-long-one extauthz serve
      extauthz serve --config extauthz.yaml --listen 0.0.0.0:9191
      extauthz serve --config extauthz.yaml --validate
    """  # noqa: D301 - \b is click's mark for a paragraph that keeps its lines
    given = {"server.listen": listen, "admin.listen": admin_listen, "server.reflection": "true" if reflection else None}
    flags = {path: value for path, value in given.items() if value is not None}
    if validate:
        _validate(file, flags)
        return
    signal.signal(
        signal.SIGHUP, signal.SIG_IGN
    )  # it would end what has only begun to start; nothing is read yet that it could mean
    from extauthz.config import WatchedFile  # noqa: PLC0415 - loaded when needed, so that `--help` is quick

    watched = None if file is None else WatchedFile(file)
    loaded = load_config(file, flags)
    warn(loaded.warnings)
    require_free(loaded)
    from extauthz import wiring  # noqa: PLC0415 - the whole service; `--help` and `--validate` do without it

    source = wiring.ConfigSource(
        load=lambda content: load_config(content, flags, may_be_empty=False), file=file, watched=watched
    )
    asyncio.run(wiring.serve(loaded.config, os.environ, source))


def _validate(file: Path | None, flags: dict[str, str]) -> None:
    loaded = checked_config(file, flags)
    warn([*loaded.warnings, *loaded.advice])
    click.echo("the configuration is valid")
