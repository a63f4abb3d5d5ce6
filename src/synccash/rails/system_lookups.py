"""Resolves the host names of rails with the system's resolver, in threads of their own."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

_FLAGS = socket.AI_ADDRCONFIG
_TURNS = 10
_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV

_AddressInfo = list[tuple[socket.AddressFamily, int, int, str, tuple[Any, ...]]]


class SystemLookups(AbstractResolver):
    """Asks `getaddrinfo`, so `hosts`, `nsswitch.conf` and `resolv.conf` hold as for all programs of the host.

    A lookup cannot be cancelled, and a silent name server keeps its thread until the system gives up
    (resolv.conf(5): `timeout`, `attempts`). So each runs in a thread of its own, one at most for each name:
    it delays no other name, no connection to PostgreSQL or Valkey (which use the threads of the event loop),
    and no stop of the process. The time-out of a request ends its wait, and not the lookup.
    """

    def __init__(self) -> None:
        self._pending: dict[tuple[str, int, int], asyncio.Future[_AddressInfo]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of a name, in the order of RFC 6724. Raises OSError."""
        key = host, port, int(family)
        pending = self._pending.get(key)
        if pending is None:
            pending = self._pending[key] = self._begin(host, port, family)
            pending.add_done_callback(lambda _: self._pending.pop(key, None))
        # One caller that leaves must not end the lookup of the others.
        found = await asyncio.shield(pending)
        return [
            ResolveResult(
                hostname=host,
                host=_address(address),
                port=port,
                family=kind,
                proto=proto,
                flags=_NUMERIC,
            )
            for kind, _, proto, _, address in found
        ]

    async def close(self) -> None:
        """Fail the lookups that run; their threads end with the process."""
        for (host, _, _), pending in list(self._pending.items()):
            if not pending.done():
                pending.set_exception(OSError(f"{host}: the service is stopping"))
        # The failure passes through the futures of aiohttp, which its session would cancel at its own close.
        for _ in range(_TURNS):
            await asyncio.sleep(0)

    def _begin(self, host: str, port: int, family: socket.AddressFamily) -> asyncio.Future[_AddressInfo]:
        loop = asyncio.get_running_loop()
        pending: asyncio.Future[_AddressInfo] = loop.create_future()
        # Else a failure that nothing waits for any more is logged.
        pending.add_done_callback(lambda future: future.cancelled() or future.exception())

        def settle(report: Callable[[Any], None], result: object) -> None:
            if not pending.done():
                report(result)

        def look_up() -> None:
            try:
                found = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM, flags=_FLAGS)
                outcome = pending.set_result, found
            except OSError as error:
                outcome = pending.set_exception, error
            except Exception as error:
                # Such as UnicodeError for a label of 70 characters.
                outcome = pending.set_exception, OSError(f"{host}: {error}")
            # The loop is closed when the process has stopped meanwhile.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(settle, *outcome)

        threading.Thread(target=look_up, name="name lookup", daemon=True).start()
        return pending


def _address(address: tuple[Any, ...]) -> str:
    """Return the address with its scope, which an address of a link (fe80::/10) needs."""
    host, _, _, scope = (*address, 0, 0)[:4]
    return f"{host}%{scope}" if scope else str(host)
