"""The whole bootstrap: options in, typed message or YAML out."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any as AnyType

import yaml
from betterproto2 import Casing, OutputFormat
from envoy_data_plane.envoy.config.bootstrap.v3 import Admin, Bootstrap, BootstrapStaticResources
from envoy_data_plane.envoy.config.overload.v3 import OverloadManager, ResourceMonitor
from envoy_data_plane.envoy.extensions.resource_monitors.downstream_connections.v3 import DownstreamConnectionsConfig
from envoy_data_plane.google.protobuf import Any

from extauthz.bootstrap.clusters import MAX_CHECKS, check_cluster, upstream_cluster
from extauthz.bootstrap.listener import Edge, listener
from extauthz.bootstrap.parts import address

MAX_DOWNSTREAM_CONNECTIONS = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BootstrapOptions:
    """What differs between deployments; the rest is the hardened set-up. Addresses are `host:port` or `unix:/path`.

    `checks` are the gRPC ports of this service, one per worker. `timeout` is how long Envoy waits for a check, in seconds.
    `max_checks` is how many checks the service answers at once (`server.max_checks`): what is beyond is refused by Envoy.
    `cors_origin` is the one origin whose pages may call the API.
    """

    listen: str = "127.0.0.1:10000"
    admin: str = "127.0.0.1:9901"
    checks: tuple[str, ...] = ("127.0.0.1:9191",)
    upstream: str = "127.0.0.1:8080"
    timeout: float = 1.0
    max_checks: int = MAX_CHECKS
    cors_origin: str = "https://app.example.com"


def build(options: BootstrapOptions | None = None) -> Bootstrap:
    """The bootstrap as Envoy's typed message."""
    wanted = options or BootstrapOptions()
    edge = Edge(listen=wanted.listen, check_timeout=timedelta(seconds=wanted.timeout), cors_origin=wanted.cors_origin)
    return Bootstrap(
        admin=Admin(address=address(wanted.admin)),
        overload_manager=_overload_manager(),
        static_resources=BootstrapStaticResources(
            listeners=[listener(edge)],
            clusters=[check_cluster(wanted.checks, wanted.max_checks), upstream_cluster(wanted.upstream)],
        ),
    )


def to_dict(bootstrap: Bootstrap) -> dict[str, AnyType]:
    """The bootstrap in protobuf's JSON form with the field names of Envoy's documentation."""
    tree: dict[str, AnyType] = bootstrap.to_dict(output_format=OutputFormat.PROTO_JSON, casing=Casing.SNAKE)
    for cluster in tree["static_resources"]["clusters"]:
        outliers = cluster.get("outlier_detection", {})
        if "consecutive_5_xx" in outliers:  # the library's snake case splits this one name wrongly
            outliers["consecutive_5xx"] = outliers.pop("consecutive_5_xx")
    return tree


def to_yaml(options: BootstrapOptions | None = None) -> str:
    """The bootstrap as the YAML that `envoy -c` reads."""
    return yaml.safe_dump(to_dict(build(options)), sort_keys=False, width=120)


def _overload_manager() -> OverloadManager:
    """Envoy's own advice for an edge: bound the connections, or a flood of them is a flood of memory."""
    connections = DownstreamConnectionsConfig(max_active_downstream_connections=MAX_DOWNSTREAM_CONNECTIONS)
    monitor = ResourceMonitor(
        name="envoy.resource_monitors.global_downstream_max_connections", typed_config=Any.pack(connections)
    )
    return OverloadManager(resource_monitors=[monitor])
