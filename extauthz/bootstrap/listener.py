"""The listener: a hardened HTTP edge with `cors`, `ext_authz` and the router, and an access log that says what was decided."""

from dataclasses import dataclass
from datetime import timedelta

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog
from envoy_data_plane.envoy.config.core.v3 import (
    ApiVersion,
    BackoffStrategy,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    Http2ProtocolOptions,
    HttpProtocolOptions,
    HttpProtocolOptionsHeadersWithUnderscoresAction,
    RetryPolicy,
    RetryPolicyRetryHostPredicate,
    SubstitutionFormatString,
)
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.config.route.v3 import (
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.access_loggers.stream.v3 import StdoutAccessLog
from envoy_data_plane.envoy.extensions.filters.http.cors.v3 import Cors, CorsPolicy
from envoy_data_plane.envoy.extensions.filters.http.ext_authz.v3 import ExtAuthz
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerPathWithEscapedSlashesAction,
    HttpFilter,
)
from envoy_data_plane.envoy.extensions.retry.host.previous_hosts.v3 import PreviousHostsPredicate
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.envoy.type.v3 import HttpStatus, StatusCode
from envoy_data_plane.google.protobuf import Any, Struct

from extauthz.bootstrap.clusters import CHECK_CLUSTER, UPSTREAM_CLUSTER
from extauthz.bootstrap.parts import address

METADATA = "envoy.filters.http.ext_authz"
CORS_FILTER = "envoy.filters.http.cors"
RETRY_ON = "connect-failure,refused-stream,reset"
RETRY_AFTER = timedelta(milliseconds=10)
"""About when a check is tried again. Envoy's default is anything up to a second, which is all the time that there is."""
HOST_ATTEMPTS = 3
PREVIOUS_HOSTS = "envoy.retry_host_predicates.previous_hosts"
BUFFER_LIMIT = 32 * 1024

ACCESS_LOG_FIELDS = {
    "time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "duration_ms": "%DURATION%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "decision": f"%DYNAMIC_METADATA({METADATA}:decision)%",
    "gate": f"%DYNAMIC_METADATA({METADATA}:gate)%",
    "reason": f"%DYNAMIC_METADATA({METADATA}:reason)%",
    "decision_id": f"%DYNAMIC_METADATA({METADATA}:decision_id)%",
    "tenant_id": f"%DYNAMIC_METADATA({METADATA}:tenant_id)%",
    "degraded": f"%DYNAMIC_METADATA({METADATA}:degraded)%",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """Where Envoy listens, how long it waits for a check, and whose pages may call."""

    listen: str
    check_timeout: timedelta
    cors_origin: str


def listener(edge: Edge) -> Listener:
    """The one listener."""
    manager = Filter(name="envoy.filters.network.http_connection_manager", typed_config=Any.pack(_manager(edge)))
    return Listener(
        name="edge",
        address=address(edge.listen),
        per_connection_buffer_limit_bytes=BUFFER_LIMIT,
        filter_chains=[FilterChain(filters=[manager])],
    )


def _manager(edge: Edge) -> HttpConnectionManager:
    return HttpConnectionManager(
        stat_prefix="edge",
        use_remote_address=True,
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action=HttpConnectionManagerPathWithEscapedSlashesAction.REJECT_REQUEST,
        common_http_protocol_options=HttpProtocolOptions(
            idle_timeout=timedelta(hours=1),
            headers_with_underscores_action=HttpProtocolOptionsHeadersWithUnderscoresAction.REJECT_REQUEST,
        ),
        http2_protocol_options=Http2ProtocolOptions(
            max_concurrent_streams=100,
            initial_stream_window_size=64 * 1024,
            initial_connection_window_size=1024 * 1024,
        ),
        request_headers_timeout=timedelta(seconds=10),
        stream_idle_timeout=timedelta(minutes=5),
        access_log=[_access_log()],
        http_filters=[
            HttpFilter(name=CORS_FILTER, typed_config=Any.pack(Cors())),
            HttpFilter(name=METADATA, typed_config=Any.pack(_ext_authz(edge))),
            HttpFilter(name="envoy.filters.http.router", typed_config=Any.pack(Router())),
        ],
        route_config=RouteConfiguration(name="edge", virtual_hosts=[_virtual_host(edge)]),
    )


def _ext_authz(edge: Edge) -> ExtAuthz:
    """The service decides, and where it can't be asked nothing passes: its own failure modes are finer than Envoy's."""
    return ExtAuthz(
        transport_api_version=ApiVersion.V3,
        grpc_service=GrpcService(
            envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=CHECK_CLUSTER),
            timeout=edge.check_timeout,
            retry_policy=_retry_policy(edge),
        ),
        failure_mode_allow=False,
        status_on_error=HttpStatus(code=StatusCode.ServiceUnavailable),
        validate_mutations=True,
        include_peer_certificate=True,
        metadata_context_namespaces=["envoy.filters.http.jwt_authn"],
    )


def _retry_policy(edge: Edge) -> RetryPolicy:
    """Soon, and at another replica where there is one. The longest interval is also the time of one try: it must not cut that."""
    elsewhere = RetryPolicyRetryHostPredicate(name=PREVIOUS_HOSTS, typed_config=Any.pack(PreviousHostsPredicate()))
    return RetryPolicy(
        retry_on=RETRY_ON,
        num_retries=2,
        retry_back_off=BackoffStrategy(base_interval=RETRY_AFTER, max_interval=max(edge.check_timeout, RETRY_AFTER)),
        retry_host_predicate=[elsewhere],
        host_selection_retry_max_attempts=HOST_ATTEMPTS,
    )


def _virtual_host(edge: Edge) -> VirtualHost:
    everything = Route(match=RouteMatch(prefix="/"), route=RouteAction(cluster=UPSTREAM_CLUSTER))
    return VirtualHost(
        name="api",
        domains=["*"],
        # Envoy sets it where a failing service is let through, which never happens here: from a client it is a lie.
        request_headers_to_remove=["x-envoy-auth-failure-mode-allowed"],
        typed_per_filter_config={CORS_FILTER: Any.pack(_cors(edge))},
        routes=[everything],
    )


def _cors(edge: Edge) -> CorsPolicy:
    return CorsPolicy(
        allow_origin_string_match=[StringMatcher(exact=edge.cors_origin)],
        allow_methods="GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
        allow_headers="authorization, content-type, x-api-key, x-request-id",
        expose_headers="retry-after, x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset",
        max_age="600",
    )


def _access_log() -> AccessLog:
    fields = Struct.from_dict(ACCESS_LOG_FIELDS)
    log = StdoutAccessLog(log_format=SubstitutionFormatString(json_format=fields))
    return AccessLog(name="envoy.access_loggers.stdout", typed_config=Any.pack(log))
