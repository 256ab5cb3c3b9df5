"""`extauthz demo`."""

import asyncio

import click

from extauthz.cli.screen import console


@click.command()
@click.option("--once", is_flag=True, help="Go through it without asking, compare every answer, and end.")
@click.option("--outage", is_flag=True, help="Show an outage: traffic, and providers that are frozen and brought back.")
def demo(*, once: bool, outage: bool) -> None:
    """Try everything on this machine: the service, a real Envoy and a small upstream in a temporary folder.

    Makes tenants in every state and prints curl commands to try. With --outage it sends traffic through Envoy, freezes the
    process that serves lifecycle, billing and protection, brings it back, and shows answers, latency and circuits meanwhile.
    Needs `pip install "extauthz[demo]"`, which brings Envoy.

    \b
    Example:
      extauthz demo
      extauthz demo --once
      extauthz demo --outage
    """  # noqa: D301 - \b is click's mark for a paragraph that keeps its lines
    from extauthz.demo import run_demo, run_outage  # noqa: PLC0415 - the whole service and more; `--help` does without it

    run = run_outage if outage else run_demo
    click.get_current_context().exit(asyncio.run(run(once=once, console=console())))
