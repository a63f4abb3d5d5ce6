"""Where a webhook may go: a merchant's URL must not become a way into our own network (OWASP API7, SSRF)."""

import ipaddress
import re
from urllib.parse import urlsplit

_PORTS = frozenset({443, 8443})
_NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
_LONGEST = 2_000
# What resolvers read as an address in another spelling: 127.1, 2130706433, 0x7f.1, 0177.0.0.1, 127.0.0.1.
# The URL standard calls it the host that ends in a number; no name of the DNS does.
_ENDS_IN_A_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?", re.ASCII | re.IGNORECASE)


class AddressRefusedError(ValueError):
    """The URL, or an address behind its name, is not one that webhooks are sent to; the text says why."""


def check_url(url: str, *, private: bool) -> str:
    """Return the host of a URL that webhooks may be sent to.

    https on port 443 or 8443, and no credentials; `private` also allows http, any port and private addresses.
    What the name resolves to is checked when it is used. Raises AddressRefusedError.
    """
    if len(url) > _LONGEST or not url.isascii() or any(c.isspace() or not c.isprintable() for c in url):
        raise AddressRefusedError(f"expected at most {_LONGEST} printable ASCII characters without spaces")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise AddressRefusedError(f"not a URL: {error}") from error
    if parts.scheme not in ({"https", "http"} if private else {"https"}):
        raise AddressRefusedError("expected a URL that begins with https://")
    if not host or "%" in host or "\\" in url:
        raise AddressRefusedError("expected a host name after https://")
    if parts.username is not None or parts.password is not None:
        raise AddressRefusedError(
            "a user name or password in the URL is not allowed; the signature proves us"
        )
    if parts.fragment:
        raise AddressRefusedError("a fragment (#…) is never sent; leave it out")
    if not private and port not in (None, *_PORTS):
        raise AddressRefusedError("expected port 443 or 8443")
    if not _is_literal(host) and _ENDS_IN_A_NUMBER.fullmatch(host):
        raise AddressRefusedError(f"{host} is neither a name nor an address as it is usually written")
    if not private and (_is_literal(host) and not is_public(host)):
        raise AddressRefusedError(f"{host} is not a public address")
    return host


def is_public(address: str) -> bool:
    """True for an address on the open internet, whatever it is wrapped in.

    `ipaddress.is_global` alone believes NAT64, 6to4 and multicast addresses to be public.
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    inner = _wrapped(found) if isinstance(found, ipaddress.IPv6Address) else None
    if inner is not None and not is_public(str(inner)):
        return False
    return found.is_global and not (found.is_multicast or found.is_reserved or found.is_unspecified)


def _wrapped(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address to which packets for this one really go; for Teredo its client."""
    if any(address in network for network in _NAT64):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
