"""Whose address a request comes from, believing only the proxies that are ours."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network
UNKNOWN = "unknown"
"""The address of a peer that has none (a unix socket)."""

_MOST_HOPS = 32


def trusted_networks(text: str) -> tuple[Network, ...]:
    """Networks from `10.0.0.0/8, ::1`. Raises ValueError that names what is none."""
    return tuple(ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip())


def client_address(peer: str | None, forwarded: Iterable[str], trusted: Sequence[Network]) -> str:
    """The key of a client: an IPv4 address, or the /64 of an IPv6 address, of which one customer has many.

    `forwarded`: the values of the X-Forwarded-For headers, in their order. They are read from right to left:
    each hop is believed only if the next one towards us is trusted, and the first that is not trusted is the
    client. What a client writes to the left of that moves nothing. A hop that is no address ends the walk.
    """
    address = _parsed(peer or "")
    if address is None:
        return UNKNOWN
    if not _is_trusted(address, trusted):
        return _bucket(address)
    hops = [hop for value in forwarded for hop in value.split(",")]
    for hop in reversed(hops[-_MOST_HOPS:]):
        before = _parsed(hop.strip())
        if before is None:
            break
        address = before
        if not _is_trusted(address, trusted):
            break
    return _bucket(address)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
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


def _is_trusted(address: IPv4Address | IPv6Address, trusted: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in trusted)


def _bucket(address: IPv4Address | IPv6Address) -> str:
    return str(address) if isinstance(address, IPv4Address) else str(ip_network((address, 64), strict=False))
