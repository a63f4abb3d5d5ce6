"""Resolves the host names of rails with the system's resolver, in threads of their own."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any

_FLAGS = socket.AI_ADDRCONFIG

AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]
"""One address, as `socket.getaddrinfo` returns it."""


class SystemLookups:
    """Asks `getaddrinfo`, so `hosts`, `nsswitch.conf` and `resolv.conf` hold as for all programs of the host.

    A lookup cannot be cancelled, and a silent name server keeps its thread until the system gives up
    (resolv.conf(5): `timeout`, `attempts`). So each runs in a thread of its own, one at most for each name:
    it delays no other name, no connection to PostgreSQL or Valkey (which use the threads of the event loop),
    and no stop of the process. The time-out of a request ends its wait, and not the lookup.
    """

    def __init__(self) -> None:
        self._pending: dict[tuple[str, int], asyncio.Future[list[AddressInfo]]] = {}

    async def resolve(self, host: str, port: int) -> list[AddressInfo]:
        """Return the addresses of a name, in the order of RFC 6724. Raises OSError."""
        key = host, port
        pending = self._pending.get(key)
        if pending is None:
            pending = self._pending[key] = self._begin(host, port)
            pending.add_done_callback(lambda _: self._pending.pop(key, None))
        # One caller that leaves must not end the lookup of the others.
        return await asyncio.shield(pending)

    def close(self) -> None:
        """Fail the lookups that run; their threads end with the process."""
        for (host, _), pending in list(self._pending.items()):
            if not pending.done():
                pending.set_exception(OSError(f"{host}: the service is stopping"))

    def _begin(self, host: str, port: int) -> asyncio.Future[list[AddressInfo]]:
        loop = asyncio.get_running_loop()
        pending: asyncio.Future[list[AddressInfo]] = loop.create_future()
        # Else a failure that nothing waits for any more is logged.
        pending.add_done_callback(lambda future: future.cancelled() or future.exception())

        def settle(report: Callable[[Any], None], result: object) -> None:
            if not pending.done():
                report(result)

        def look_up() -> None:
            try:
                found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=_FLAGS)
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
