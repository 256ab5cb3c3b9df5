"""An Envoy bootstrap against the hardened set-up of spec section 8, as far as reading it goes.

Whether Envoy accepts the file at all is Envoy's to say (`envoy --mode validate`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from extauthz.cli.envoy_tree import Finding, Part, read, typed
from extauthz.config import Config, format_duration, total_deadline

_FILTER: Final = "envoy.filters.http.ext_authz"
_RETRY_ON: Final = ("connect-failure", "refused-stream", "reset")
_MOST_RETRIES: Final = 1000


def findings_in(file: Path, config: Config) -> list[Finding]:
    """What the bootstrap in `file` lacks for a service with this configuration, in the order of the file.

    Raises:
        InvalidConfig: the file cannot be read, or is no YAML or JSON.
    """
    root = read(file)
    filters = list(typed(root, "ExtAuthz"))
    if not filters:
        return [root.lacks("no ext_authz filter: no request is ever checked")]
    found = [finding for part in filters for finding in _filter(part, config)]
    found += [finding for part in typed(root, "HttpConnectionManager") for finding in _edge(part)]
    names = dict.fromkeys(_grpc_cluster(part) for part in filters)
    found += [finding for name in names if name for finding in _cluster(root, name)]
    return found


def _grpc_cluster(part: Part) -> str:
    return part.get("grpc_service", "envoy_grpc", "cluster_name").text


def _filter(part: Part, config: Config) -> Iterator[Finding]:
    service = part.get("grpc_service")
    if not service.is_there:
        yield part.lacks("grpc_service is missing: the service speaks gRPC")
    else:
        yield from _timeout(service, config)
        yield from _retries(service)
    if part.get("transport_api_version").text != "V3":
        yield part.lacks("set transport_api_version: V3")
    allow = part.get("failure_mode_allow")
    if allow.is_true:
        yield allow.lacks(
            "must be false: with true, a time-out lets a request through with the client's own x-tenant-id;"
            " the service has a failure mode per gate"
        )
    if part.get("status_on_error", "code").text not in ("503", "ServiceUnavailable"):
        yield part.lacks("set status_on_error: {code: ServiceUnavailable}; without it a failing check is 403")
    if not part.get("validate_mutations").is_true:
        yield part.lacks("set validate_mutations: true, so that no header of an answer can be malformed")
    for name in ("allowed_headers", "disallowed_headers"):
        if part.get(name).is_there:
            yield part.get(name).lacks(f"remove {name}: the check must see the headers that the upstream gets")


def _timeout(service: Part, config: Config) -> Iterator[Finding]:
    timeout = service.get("timeout")
    seconds = timeout.seconds
    needed = total_deadline(config)
    if seconds is None:
        yield service.lacks("set timeout: 1s; without it Envoy gives up after 200 ms")
    elif seconds < needed:
        yield timeout.lacks(
            f"{format_duration(seconds)} is shorter than the deadlines of the providers together"
            f" ({format_duration(needed)}): what does not fit is answered as if the provider had failed"
        )


def _retries(service: Part) -> Iterator[Finding]:
    inside = service.get("envoy_grpc", "retry_policy")
    if inside.is_there:
        yield inside.lacks("does nothing here: retry_policy belongs on grpc_service, beside envoy_grpc")
    given = [word.strip() for word in service.get("retry_policy", "retry_on").text.split(",")]
    missing = [word for word in _RETRY_ON if word not in given]
    if missing:
        yield service.lacks(
            f'set retry_policy: {{retry_on: "{",".join(_RETRY_ON)}"}}; without {", ".join(missing)} a replica that stops'
            " fails requests"
        )


def _edge(part: Part) -> Iterator[Finding]:
    """The connection manager, where it is one that asks this service."""
    filters = [item.get("name").text for item in part.get("http_filters").items()]
    kinds = [item.get("typed_config", "@type").text.rpartition(".")[2] for item in part.get("http_filters").items()]
    if "ExtAuthz" not in kinds:
        return
    if not part.get("normalize_path").is_true:
        yield part.lacks("set normalize_path: true, so that what is checked is what is routed")
    if not part.get("merge_slashes").is_true:
        yield part.lacks("set merge_slashes: true, so that what is checked is what is routed")
    if part.get("path_with_escaped_slashes_action").text not in ("REJECT_REQUEST", "2"):
        yield part.lacks("set path_with_escaped_slashes_action: REJECT_REQUEST")
    underscores = part.get("common_http_protocol_options", "headers_with_underscores_action")
    if underscores.text not in ("REJECT_REQUEST", "1"):
        yield part.lacks(
            "set common_http_protocol_options: {headers_with_underscores_action: REJECT_REQUEST}: to many upstreams"
            " x_tenant_id and x-tenant-id are one name"
        )
    if "Cors" in kinds and kinds.index("Cors") > kinds.index("ExtAuthz"):
        cors = filters[kinds.index("Cors")]
        yield part.get("http_filters").lacks(f"put {cors} before {_FILTER}: a CORS preflight carries no key")


def _cluster(root: Part, name: str) -> Iterator[Finding]:
    clusters = [part for part in root.get("static_resources", "clusters").items() if part.get("name").text == name]
    if not clusters:
        where = root.get("static_resources", "clusters")
        yield where.lacks(f"the cluster {name!r} that ext_authz asks is not in the file: it cannot be checked")
    for part in clusters:
        yield from _health(part)
        yield from _breakers(part)


def _health(part: Part) -> Iterator[Finding]:
    checks = list(part.get("health_checks").items())
    if not checks:
        yield part.lacks("set health_checks with a grpc_health_check: a replica that stops would go on being asked")
    for check in checks:
        if not check.get("no_traffic_interval").is_there:
            yield check.lacks("set no_traffic_interval: 1s; without it an idle cluster is hardly checked (60 s)")
    if not part.get("outlier_detection").is_there:
        yield part.lacks("set outlier_detection: a replica that was killed would go on being asked")


def _breakers(part: Part) -> Iterator[Finding]:
    thresholds = list(part.get("circuit_breakers", "thresholds").items())
    first = thresholds[0] if thresholds else part
    if first.get("max_retries").number < _MOST_RETRIES:
        yield first.lacks(
            f"set circuit_breakers.thresholds max_retries: {_MOST_RETRIES}; the default of 3 loses requests"
        )
    for name in ("max_requests", "max_pending_requests"):
        if not first.get(name).is_there:
            yield first.lacks(f"set circuit_breakers.thresholds {name} (1152): overload is shed by it")
