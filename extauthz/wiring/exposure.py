"""Who can reach a provider server, and what for: said at start, where it is more than this machine."""

from collections.abc import Collection
from contextlib import suppress
from ipaddress import ip_address

from extauthz.config.address import Address, parse_address

_REMEDY = "listen on the loopback address or a unix socket, or let in only clients with a certificate (--tls-client-ca)"


def warning(listen: str, services: Collection[str], *, certificates: bool) -> str | None:
    """What to tell whoever starts a server of these services at that address; None where there is nothing to tell.

    `certificates` says whether clients must show one.
    """
    if certificates or _is_of_this_machine(parse_address(listen)):
        return None
    if any(service.endswith("AdminService") for service in services):
        what = "create and change tenants and issue keys, operators' too"
        return f"whoever can reach {listen} can {what}: {_REMEDY}; --read-only serves no changes"
    return f"whoever can reach {listen} can ask whatever is served, about any tenant: {_REMEDY}"


def _is_of_this_machine(address: Address) -> bool:
    if address.is_unix or address.host == "localhost":
        return True
    with suppress(ValueError):
        return ip_address(address.host).is_loopback
    return False  # a name, which may stand for anything
