"""The composition root: a configuration becomes a running service, in one AsyncExitStack, and ends with it."""

from extauthz.wiring.reload import ConfigSource
from extauthz.wiring.serve import serve
from extauthz.wiring.service import Service, service

__all__ = ["ConfigSource", "Service", "serve", "service"]
