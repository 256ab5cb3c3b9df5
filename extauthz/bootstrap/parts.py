"""Small typed parts that clusters and listener share."""

from envoy_data_plane.envoy.config.core.v3 import Address, Pipe, SocketAddress
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints


def address(text: str) -> Address:
    """`host:port`, `[v6]:port` or `unix:/path` as Envoy writes it.

    Raises:
        ValueError: none of these.
    """
    if text.startswith("unix:"):
        return Address(pipe=Pipe(path=text.removeprefix("unix:")))
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"{text!r} is neither host:port nor unix:/path")
    return Address(socket_address=SocketAddress(address=host.strip("[]"), port_value=int(port)))


def endpoints(cluster: str, addresses: tuple[str, ...]) -> ClusterLoadAssignment:
    """A static load assignment."""
    hosts = [LbEndpoint(endpoint=Endpoint(address=address(text))) for text in addresses]
    return ClusterLoadAssignment(cluster_name=cluster, endpoints=[LocalityLbEndpoints(lb_endpoints=hosts)])
