"""Reads the URL of Valkey: of one server, or of the Sentinels that know the primary."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from redis.asyncio.sentinel import MasterNotFoundError, Sentinel

from synccash.settings.secret import Secret, revealed

SCHEMES = {
    "valkey": "redis",
    "valkeys": "rediss",
    "redis": "redis",
    "rediss": "rediss",
    "unix": "unix",
}
"""The schemes of one server's URL, each with the name that redis-py has for it."""
SENTINEL_SCHEMES = {f"{name}+sentinel": SCHEMES[name] for name in ("valkey", "valkeys", "redis", "rediss")}
"""The schemes of a URL that names Sentinels; with TLS, both Sentinels and servers are reached with it."""
_SENTINEL_PORT = 26_379
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")


_ENDING: set[asyncio.Task[Any]] = set()


def _forget(task: asyncio.Task[Any]) -> None:
    _ENDING.discard(task)
    if not task.cancelled():
        task.exception()  # Else a failure that nobody waits for is logged.


@dataclass(frozen=True, slots=True)
class Sentinels:
    """The Sentinels of a URL, and the name under which they watch the servers.

    `options`: how to connect to them, as keyword arguments of redis-py.
    """

    service: str
    addresses: Sequence[tuple[str, int]]
    options: dict[str, Any] = field(repr=False)

    async def primary(self, deadline_s: float) -> tuple[str, int]:
        """Return the address of the primary, as the first Sentinel names it that answers.

        All are asked at the same time, so that one that hangs delays nothing. Raises redis-py's
        ConnectionError when none names a primary within `deadline_s` seconds.
        """
        asked = [asyncio.ensure_future(self._ask(address, deadline_s)) for address in self.addresses]
        try:
            async with asyncio.timeout(deadline_s):
                for answer in asyncio.as_completed(asked):
                    try:
                        return await answer
                    except MasterNotFoundError:
                        continue
        except TimeoutError:
            pass
        finally:
            # Not cancelled: redis-py would leave a connection open that is about to be made. Each ends within
            # its own deadline.
            for task in asked:
                _ENDING.add(task)
                task.add_done_callback(_forget)
        raise MasterNotFoundError(f"no Sentinel names a primary of {self.service}")

    async def _ask(self, address: tuple[str, int], deadline_s: float) -> tuple[str, int]:
        limits = {"socket_timeout": deadline_s, "socket_connect_timeout": deadline_s}
        async with Sentinel([address], sentinel_kwargs={**self.options, **limits}) as sentinel:
            return cast("tuple[str, int]", await sentinel.discover_master(self.service))


@dataclass(frozen=True, slots=True)
class ValkeyAddress:
    """A URL that redis-py can read, and the Sentinels that name its host and port, if there are any."""

    url: str = field(repr=False)
    sentinels: Sentinels | None = None


def read_address(url: Secret | str, options: dict[str, Any]) -> ValkeyAddress:
    """Read the URL of Valkey. `options`: how to connect to Sentinels, besides what the URL says.

    Raises ValueError for another scheme, or for a URL of Sentinels without a host or a service.
    """
    text = revealed(url)
    scheme, colon, rest = text.partition(":")
    scheme = scheme.lower()
    if scheme in SCHEMES:
        return ValkeyAddress(f"{SCHEMES[scheme]}{colon}{rest}")
    if scheme not in SENTINEL_SCHEMES:
        raise ValueError("an unknown scheme")
    return _read_sentinels(SENTINEL_SCHEMES[scheme], text, options)


def _read_sentinels(scheme: str, text: str, options: dict[str, Any]) -> ValkeyAddress:
    parts = urlsplit(text)
    account, at, hosts = parts.netloc.rpartition("@")
    service, _, number = parts.path.strip("/").partition("/")
    addresses = [_host_and_port(part) for part in hosts.split(",") if part]
    if not addresses or not service:
        raise ValueError("expected HOST[:PORT],…/SERVICE")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    own = {name.removeprefix("sentinel_"): query.pop(name) for name in _SENTINEL_OPTIONS if name in query}
    if number:
        query.setdefault("db", number)
    # The host is replaced by the one that a Sentinel names.
    server = f"{scheme}://{account}{at}{addresses[0][0]}?{urlencode(query)}"
    tls = {"ssl": True, **_tls_options(query)} if scheme == "rediss" else {}
    return ValkeyAddress(server, Sentinels(unquote(service), addresses, {**options, **tls, **own}))


def _tls_options(query: dict[str, str]) -> dict[str, Any]:
    """Return the TLS options of a URL as redis-py reads them."""
    from redis.asyncio.connection import parse_url

    read = parse_url(f"rediss://host?{urlencode(query)}")
    return {name: value for name, value in read.items() if name.startswith("ssl_")}


def _host_and_port(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("expected HOST[:PORT]")
    return parts.hostname, parts.port or _SENTINEL_PORT
