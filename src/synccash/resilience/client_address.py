"""Finds the client's IP address of a request behind trusted proxies, from X-Forwarded-For."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
UNKNOWN = "unknown"
"""The address of a peer that has none (a unix socket)."""

_MOST_HOPS = 32


def trusted_networks(text: str) -> tuple[Network, ...]:
    """Parse a list of networks such as `10.0.0.0/8, ::1`. Raises ValueError that names the invalid one."""
    return tuple(ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip())


def client_address(peer: str | None, forwarded: Iterable[str], trusted: Sequence[Network]) -> str:
    """Return the client's IPv4 address, or the /64 network of its IPv6 address: one customer has a whole /64.

    `peer`: the address of the TCP connection; None for a unix socket, which gives "unknown". `forwarded`: the
    values of the X-Forwarded-For headers, in their order. Hops are read from right to left: a hop counts only
    if the proxy that added it is trusted, and the first hop that is not trusted is the client. Entries that
    the client itself sent stand further left and are ignored. A hop that is no IP address ends the reading.
    """
    address = client_ip(peer, forwarded, trusted)
    return UNKNOWN if address is None else _bucket(address)


def client_ip(peer: str | None, forwarded: Iterable[str], trusted: Sequence[Network]) -> Address | None:
    """Return the client's own address, also of IPv6, as `client_address` finds it; None if it has none."""
    address = _parsed(peer or "")
    if address is None or not _is_trusted(address, trusted):
        return address
    hops = [hop for value in forwarded for hop in value.split(",")]
    for hop in reversed(hops[-_MOST_HOPS:]):
        before = _parsed(hop.strip())
        if before is None:
            break
        address = before
        if not _is_trusted(address, trusted):
            break
    return address


def is_within(address: Address | None, networks: Sequence[Network]) -> bool:
    """Tell whether the address is in one of the networks. An unknown address is in none."""
    return address is not None and _is_trusted(address, networks)


def _parsed(text: str) -> Address | None:
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _is_trusted(address: Address, trusted: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in trusted)


def _bucket(address: Address) -> str:
    return str(address) if isinstance(address, IPv4Address) else str(ip_network((address, 64), strict=False))
