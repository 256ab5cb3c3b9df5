"""`extauthz demo`: the main job on one machine, with a real Envoy and nothing to install beside it."""

import asyncio
import tempfile
from pathlib import Path

from rich.console import Console

from extauthz.demo import show
from extauthz.demo.cast import CONFIGURATION, set_the_scene
from extauthz.demo.interrupt import unless_interrupted
from extauthz.demo.outage import run_outage
from extauthz.demo.stack import Ports, free_ports, running_stack
from extauthz.demo.tour import walk
from extauthz.telemetry.log import configured

__all__ = ["run_demo", "run_outage"]


async def run_demo(*, once: bool, console: Console) -> int:
    """Run the demo until interrupted, or with `once` through the tour; 0 when every answer was the expected one."""
    return await unless_interrupted(_demo(once=once, console=console)) or 0


async def _demo(*, once: bool, console: Console) -> int:
    with configured("ERROR"), tempfile.TemporaryDirectory(prefix="extauthz-demo-") as folder:
        directory = Path(folder)
        ports = free_ports(Ports())
        async with running_stack(CONFIGURATION.format(directory=directory), directory, ports) as stack:
            keys = await set_the_scene(stack)
            if once:
                walked = [outcome async for outcome in walk(stack, keys)]
                show.outcomes(console, walked)
                return 0 if all(outcome.as_expected for outcome in walked) else 1
            show.invitation(console, stack, keys)
            await asyncio.Event().wait()
            return 0
