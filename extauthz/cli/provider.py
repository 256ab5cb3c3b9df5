"""`extauthz provider …`."""

import asyncio
import os
from pathlib import Path

import click

from extauthz.cli.app import Noun
from extauthz.cli.files import config_option, load_config, warn
from extauthz.cli.ports import require_free_at

_KINDS = ("credentials", "lifecycle", "billing", "protection", "events")
_file = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.group(cls=Noun)
def provider() -> None:
    """Serve the provider contracts.

    \b
    Example:
      extauthz provider serve --config extauthz.yaml
    """  # noqa: D301 - \b is click's mark for a paragraph that keeps its lines


@provider.command(short_help="Serve the provider contracts over gRPC.")
@config_option
@click.option("--listen", default="127.0.0.1:9292", show_default=True, metavar="ADDRESS", help="Where to listen.")
@click.option(
    "--only", "kinds", multiple=True, type=click.Choice(_KINDS), help="Serve this kind only; may be repeated."
)
@click.option("--tls-cert", type=_file, metavar="FILE", help="The server's certificate (PEM); with --tls-key.")
@click.option("--tls-key", type=_file, metavar="FILE", help="Its private key (PEM).")
@click.option(
    "--tls-client-ca", type=_file, metavar="FILE", help="Let in only clients whose certificate this CA signed."
)
@click.option("--read-only", is_flag=True, help="Serve look-ups, charges and events, and no administration.")
def serve(
    file: Path | None,
    listen: str,
    kinds: tuple[str, ...],
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    *,
    read_only: bool,
) -> None:
    """Serve the contracts of protos/extauthz/provider/v1 from the backends that the configuration names, until Ctrl-C.

    A service whose configuration says `url: "grpc://host:9292"` then uses them. Whoever can reach this address can change
    tenants and keys, unless it is --read-only: listen on the loopback address or a unix socket, or use TLS with --tls-client-ca.

    \b
    Example:
      extauthz provider serve --config extauthz.yaml
      extauthz provider serve --config extauthz.yaml --only billing --listen unix:/run/billing.sock
      extauthz provider serve --config extauthz.yaml --read-only --listen 10.0.0.5:9292 --tls-cert c.pem --tls-key k.pem
    """  # noqa: D301 - see provider
    if (tls_cert is None) != (tls_key is None) or (tls_client_ca is not None and tls_cert is None):
        raise click.UsageError("give --tls-cert and --tls-key together, and --tls-client-ca only with them")
    loaded = load_config(file)
    warn(loaded.warnings)
    require_free_at(listen)
    from extauthz.providers.serve import ServeTls  # noqa: PLC0415 - gRPC and the backends, which `--help` does without
    from extauthz.wiring.provide import provide  # noqa: PLC0415 - see above

    tls = None if tls_cert is None or tls_key is None else ServeTls(cert=tls_cert, key=tls_key, client_ca=tls_client_ca)
    asyncio.run(provide(loaded.config, listen, kinds or _KINDS, tls, os.environ, read_only=read_only))
