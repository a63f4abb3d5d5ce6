"""Checks webhook URLs and addresses, so that a merchant's URL cannot reach the service's own network (SSRF,
OWASP API7)."""

import ipaddress
import re
from urllib.parse import urlsplit

_PORTS = frozenset({443, 8443})
# https://www.iana.org/assignments/ipv6-unicast-address-assignments: public hosts are in this
# block only. Addresses outside it are internal (site-local fec0::/10, unique local fc00::/7, link-local
# fe80::/10) or embed an IPv4 address (mapped, compatible, translated, NAT64).
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
# The special blocks of https://www.iana.org/assignments/iana-ipv4-special-registry and of its IPv6
# counterpart, and former ones that some hosts and routers still honour. They are listed here because the
# list of the `ipaddress` module differs between Python versions.
_SPECIAL = tuple(
    ipaddress.ip_network(block)
    for block in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by a provider's customers (RFC 6598)
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link local; clouds serve their metadata here
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocols
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays, deprecated (RFC 7526)
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved
        "2001::/23",  # protocols: Teredo, benchmarking, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which wraps an IPv4 address
        "2620:4f:8000::/48",  # AS112
        "3ffe::/16",  # the former 6bone (RFC 3701)
        "3fff::/20",  # documentation (RFC 9637)
    )
)
_LONGEST = 2_000
# Host names that resolvers read as an IPv4 address: 127.1, 2130706433, 0x7f.1, 0177.0.0.1, 127.0.0.1.
# The URL standard says that such a host "ends in a number"; no DNS name does.
_ENDS_IN_A_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?", re.ASCII | re.IGNORECASE)


SETTING = "webhook_private_addresses"
"""The setting that allows private addresses."""
_LISTEN = ", and `synccash listen` forwards events to your own machine without it"


class AddressRefusedError(ValueError):
    """Webhooks must not be sent to the URL or to an address of its host; the text gives the reason."""


def check_url(url: str, *, private: bool) -> str:
    """Check a webhook URL and return its host.

    Accepts https on port 443 or 8443 without credentials; `private` also accepts http, any port and private
    addresses. `sender.PublicOnly` checks the addresses that a name resolves to. Raises AddressRefusedError.
    """
    if len(url) > _LONGEST or not url.isascii() or any(c.isspace() or not c.isprintable() for c in url):
        raise AddressRefusedError(f"expected at most {_LONGEST} printable ASCII characters without spaces")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise AddressRefusedError(f"not a URL: {error}") from error
    if parts.scheme not in ({"https", "http"} if private else {"https"}):
        hint = f"; the operator's setting {SETTING} allows http{_LISTEN}" if parts.scheme == "http" else ""
        raise AddressRefusedError(f"expected a URL that begins with https://{hint}")
    if not host or "%" in host or "\\" in url:
        raise AddressRefusedError("expected a host name after https://")
    if parts.username is not None or parts.password is not None:
        raise AddressRefusedError(
            "a user name or password in the URL is not allowed; verify the signature instead"
        )
    if parts.fragment:
        raise AddressRefusedError("a fragment (#…) is never sent; leave it out")
    if not private and port not in (None, *_PORTS):
        raise AddressRefusedError(
            f"expected port 443 or 8443; the operator's setting {SETTING} allows others{_LISTEN}"
        )
    if not _is_literal(host) and _ENDS_IN_A_NUMBER.fullmatch(host):
        raise AddressRefusedError(f"{host} is neither a host name nor an address in the usual notation")
    if not private and (_is_loopback_name(host) or (_is_literal(host) and not is_public(host))):
        raise AddressRefusedError(
            f"{host} is not a public address; the operator's setting {SETTING} allows private addresses"
            f"{_LISTEN}"
        )
    return host


def is_public(address: str) -> bool:
    """Return True for an address of a host on the public internet.

    An IPv6 address that embeds an IPv4 address is never public: its destination depends on the routers on the
    path.
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found not in _GLOBAL_UNICAST:
        return False
    return found.is_global and not any(found in block for block in _SPECIAL)


def _is_loopback_name(host: str) -> bool:
    """True for `localhost` and names below it (RFC 6761)."""
    name = host.rstrip(".").lower()
    return name == "localhost" or name.endswith(".localhost")


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
