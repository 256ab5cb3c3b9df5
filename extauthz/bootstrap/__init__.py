"""A hardened Envoy bootstrap for this service, built from Envoy's own types (spec section 8).

Importing this package takes over half a second (the types are many): import it where the configuration is built.
"""

from extauthz.bootstrap.build import BootstrapOptions, build, to_yaml

__all__ = ["BootstrapOptions", "build", "to_yaml"]
