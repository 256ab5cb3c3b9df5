"""The configuration: one frozen tree, read once; everything else receives its own slice (spec section 8).

`load` reads it and tells every fault at once. The tree holds no secrets, only the names of files that do; `admin_token` reads
one of those.
"""

from extauthz.config.address import Address
from extauthz.config.advice import total_of as total_deadline
from extauthz.config.content import Content, read_content
from extauthz.config.difference import differences, is_reloaded, taken_over
from extauthz.config.gates import (
    ActionsConfig,
    AuthGateConfig,
    BillingGateConfig,
    GateConfig,
    GatesConfig,
    LifecycleGateConfig,
    ProtectionGateConfig,
)
from extauthz.config.loading import Loaded, load
from extauthz.config.plans import LimitsConfig, PlanConfig
from extauthz.config.problems import InvalidConfig, Origin, Problem
from extauthz.config.providers import (
    BillingConfig,
    Breaker,
    CredentialsConfig,
    EventsConfig,
    LifecycleConfig,
    ProtectionConfig,
    ProvidersConfig,
)
from extauthz.config.routes import RouteConfig
from extauthz.config.secrets import admin_token
from extauthz.config.server import AdminConfig, Frontend, ServerConfig
from extauthz.config.show import json_schema, masked, schema_text, to_yaml
from extauthz.config.tree import Config
from extauthz.config.units import format_duration, format_size, parse_duration, parse_size
from extauthz.config.url import ProviderUrl
from extauthz.config.watched_file import WatchedFile

__all__ = [
    "ActionsConfig",
    "Address",
    "AdminConfig",
    "AuthGateConfig",
    "BillingConfig",
    "BillingGateConfig",
    "Breaker",
    "Config",
    "Content",
    "CredentialsConfig",
    "EventsConfig",
    "Frontend",
    "GateConfig",
    "GatesConfig",
    "InvalidConfig",
    "LifecycleConfig",
    "LifecycleGateConfig",
    "LimitsConfig",
    "Loaded",
    "Origin",
    "PlanConfig",
    "Problem",
    "ProtectionConfig",
    "ProtectionGateConfig",
    "ProviderUrl",
    "ProvidersConfig",
    "RouteConfig",
    "ServerConfig",
    "WatchedFile",
    "admin_token",
    "differences",
    "format_duration",
    "format_size",
    "is_reloaded",
    "json_schema",
    "load",
    "masked",
    "parse_duration",
    "parse_size",
    "read_content",
    "schema_text",
    "taken_over",
    "to_yaml",
    "total_deadline",
]
