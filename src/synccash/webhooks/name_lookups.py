"""Resolves host names of merchants' servers asynchronously, with c-ares, each within a time limit."""

import asyncio
import socket
from collections import Counter
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, cast

import aiodns
import aiodns.error
import pycares
from aiohttp.abc import AbstractResolver, ResolveResult

TIMEOUT_S = 6.0
"""How long a lookup may take, in seconds: name servers are asked three times."""
ADDRESSES_MAX = 8
"""How many addresses of a name are checked and tried at most. A name server may return thousands."""
_FIRST_TRY_S = 1.0
_TRIES = 3
# Any address of the public internet will do: connecting a datagram socket only looks up a route.
_PUBLIC_IPV6 = ("2001:500:2f::f", 53)


class NameLookupError(OSError):
    """A name was not resolved, or not in time; the text gives the reason."""


class NameLookups(AbstractResolver):
    """Resolves names for one event loop, without blocking it or a thread for each lookup.

    A lookup whose name server does not answer ends after `timeout_s` seconds and delays no other. Names come
    from the host's `hosts` file and the name servers of `resolv.conf`, or from `name_servers`
    (`address` or `address:port`); other sources of the system (nsswitch modules, mDNS) are not asked.
    """

    def __init__(self, name_servers: Sequence[str] = (), *, timeout_s: float = TIMEOUT_S) -> None:
        self._name_servers = tuple(name_servers)
        self._timeout_s = timeout_s
        self._resolver: aiodns.DNSResolver | None = None
        self._closed = False

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of a name, ADDRESSES_MAX at most. Raises NameLookupError."""
        # As with getaddrinfo's AI_ADDRCONFIG: a host without IPv6 has no use for an IPv6 address, and a
        # DNS64 server would add one that is never public.
        if family == socket.AF_UNSPEC and not _has_ipv6():
            family = socket.AF_INET
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await self._open(host).getaddrinfo(
                    host, family=family, port=port, type=socket.SOCK_STREAM
                )
        except TimeoutError:
            raise NameLookupError(f"{host}: no answer of a name server in {self._timeout_s:g} s") from None
        except aiodns.error.DNSError as error:
            raise NameLookupError(f"{host}: {_reason(error)}") from error
        except (pycares.AresError, UnicodeError) as error:
            raise NameLookupError(f"{host} is not a name: {error}") from error
        return [
            ResolveResult(
                hostname=host,
                host=_address(node),
                port=port,
                family=node.family,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for node in _some(found.nodes)
        ]

    async def close(self) -> None:
        """Fail every pending and later lookup."""
        self._closed = True
        if self._resolver is not None:
            await self._resolver.close()

    def _open(self, host: str) -> aiodns.DNSResolver:
        if self._closed:
            raise NameLookupError(f"{host}: the service is stopping")
        if self._resolver is None:
            self._resolver = aiodns.DNSResolver(
                self._name_servers or None, timeout=_FIRST_TRY_S, tries=_TRIES
            )
        return self._resolver


def _some(nodes: Sequence[pycares.AddrInfoNode]) -> list[pycares.AddrInfoNode]:
    """Return the first addresses of each family in turn, so that many of one do not hide the other."""
    seen = Counter[int]()
    ranked: list[tuple[int, pycares.AddrInfoNode]] = []
    for node in nodes:
        if seen[node.family] < ADDRESSES_MAX:
            ranked.append((seen[node.family], node))
            seen[node.family] += 1
    ranked.sort(key=itemgetter(0))
    return [node for _, node in ranked[:ADDRESSES_MAX]]


def _address(node: pycares.AddrInfoNode) -> str:
    # (address, port) or (address, port, flow, scope); pycares leaves the members untyped.
    parts = cast("tuple[Any, ...]", node.addr)  # pyright: ignore[reportUnknownMemberType]
    address = parts[0].decode() if isinstance(parts[0], bytes) else str(parts[0])
    scope = int(parts[3]) if len(parts) > 3 else 0
    return f"{address}%{scope}" if scope else address


def _reason(error: aiodns.error.DNSError) -> str:
    return str(error.args[1]) if len(error.args) > 1 else str(error)


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.connect(_PUBLIC_IPV6)
    except OSError:
        return False
    return True
