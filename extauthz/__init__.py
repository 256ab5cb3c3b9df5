"""extauthz: an Envoy external-authorization (ext_authz v3) service.

The public surface is this package's `__all__`, `extauthz.testing` (fakes, builders and contract suites for providers
of your own) and `extauthz.ports` (the seams those providers implement). Everything else is internal.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
