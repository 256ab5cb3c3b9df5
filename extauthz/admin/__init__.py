"""The admin port: health and metrics for machines, tenants, keys and explanations for operators (spec section 7)."""

from extauthz.admin.app import build_app
from extauthz.admin.server import AdminServer
from extauthz.admin.services import AdminAccess, AdminServices, ComponentHealth, LastReload, Operations

__all__ = ["AdminAccess", "AdminServer", "AdminServices", "ComponentHealth", "LastReload", "Operations", "build_app"]
