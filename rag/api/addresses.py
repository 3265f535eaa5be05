"""Where a request comes from: the peer, or what a trusted proxy says in X-Forwarded-For."""

import ipaddress
from typing import Any, Final, cast

from litestar.types import Scope

from rag.errors import SetupError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_UNKNOWN: Final = "unknown"  # a Unix socket, or a peer that the server does not name
_V6_PREFIX: Final = 64  # what one customer of a provider has at the least


class Proxies:
    """The peers whose X-Forwarded-For is believed; of all others it is not looked at."""

    def __init__(self, trusted: str | None) -> None:
        self._trusted = [_network(part.strip()) for part in (trusted or "").split(",") if part.strip()]

    def client(self, scope: Scope) -> str:
        """The client's address, an IPv6 one as its /64: the last in the chain that no trusted proxy has."""
        peer = cast("dict[str, Any]", scope).get("client")
        address = _parse(peer[0]) if peer else None
        for claimed in reversed(_forwarded(scope)):
            if address is None or not self._trusts(address):
                break
            further = _parse(claimed)
            if further is None:  # what stands further left was written by nobody we trust
                break
            address = further
        return _shown(address)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise SetupError(f"CLOISTER_TRUSTED_PROXIES: '{text}' is no address and no network") from error


def _forwarded(scope: Scope) -> list[str]:
    sent = [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"x-forwarded-for"]
    return [part.strip() for part in ",".join(sent).split(",") if part.strip()]


def _parse(text: str) -> Address | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, ipaddress.IPv6Address) else found


def _shown(address: Address | None) -> str:
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(address), _V6_PREFIX), strict=False))
    return str(address) if address else _UNKNOWN
