"""Resolves host names of merchants' servers in a few dedicated threads, with a limit for each merchant."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Generator
from contextvars import ContextVar
from dataclasses import dataclass

from aiohttp.abc import AbstractResolver, ResolveResult

THREADS = 16
EACH = 2
# The system's resolver retries after 5 s, so a lookup survives one lost datagram.
TIMEOUT_S = 6.0

Lookup = Callable[[str, int, socket.AddressFamily], list[ResolveResult]]
_NUMERIC = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
_merchant: ContextVar[str] = ContextVar("_merchant", default="")


class NameLookupError(OSError):
    """A name was not resolved, or not in time; the text gives the reason."""


@contextlib.contextmanager
def lookups_of(merchant_id: str) -> Generator[None]:
    """Attribute the lookups of this task to a merchant."""
    token = _merchant.set(merchant_id)
    try:
        yield
    finally:
        _merchant.reset(token)


@dataclass(slots=True, eq=False)
class _Lookup:
    """One lookup. `given_up`: its caller no longer waits for it."""

    merchant_id: str
    host: str
    port: int
    family: socket.AddressFamily
    found: asyncio.Future[list[ResolveResult]]
    given_up: bool = False


class NameLookups(AbstractResolver):
    """Runs the lookups of one event loop, each in a daemon thread.

    While a name server does not answer, the system's resolver blocks its thread for half a minute or longer
    and cannot be interrupted. So at most `threads` lookups run at once, at most `each` of them for one
    merchant; further ones wait without a thread. A caller waits for at most `timeout_s` seconds. While a
    lookup runs on after its caller gave up, new lookups of the same name for the same merchant fail at once.
    Daemon threads do not block the exit of the process; in the event loop's default executor other work would
    queue behind the lookups.
    """

    def __init__(
        self,
        lookup: Lookup | None = None,
        *,
        threads: int = THREADS,
        each: int = EACH,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._lookup = lookup or system_lookup
        self._threads = threads
        self._each = each
        self._timeout_s = timeout_s
        self._waiting: list[_Lookup] = []
        self._running: set[_Lookup] = set()
        self._closed = False

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a name. Raises OSError, for instance NameLookupError."""
        loop = asyncio.get_running_loop()
        call = _Lookup(_merchant.get(), host, port, family, loop.create_future())
        self._refuse(call)
        self._waiting.append(call)
        self._start()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await call.found
        except TimeoutError:
            raise NameLookupError(f"{host}: no answer of a name server in {self._timeout_s:g} s") from None
        finally:
            call.given_up = True
            if call in self._waiting:
                self._waiting.remove(call)

    async def close(self) -> None:
        """Fail every pending lookup, without waiting for blocked threads."""
        self._closed = True
        for call in (*self._waiting, *self._running):
            _settle(call, NameLookupError("the service is stopping"))
        self._waiting.clear()

    def _refuse(self, call: _Lookup) -> None:
        if self._closed:
            raise NameLookupError("the service is stopping")
        if any(c.given_up and c.host == call.host for c in self._of(call.merchant_id)):
            raise NameLookupError(f"{call.host}: its name server still does not answer an earlier lookup")

    def _of(self, merchant_id: str) -> list[_Lookup]:
        return [call for call in self._running if call.merchant_id == merchant_id]

    def _start(self) -> None:
        for call in tuple(self._waiting):
            if len(self._running) >= self._threads:
                return
            if len(self._of(call.merchant_id)) < self._each:
                self._waiting.remove(call)
                self._begin(call)

    def _begin(self, call: _Lookup) -> None:
        thread = threading.Thread(
            target=self._run, args=(call, call.found.get_loop()), name="name-lookup", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # the system cannot start a thread
            _settle(call, NameLookupError(f"{call.host}: {error}"))
        else:
            self._running.add(call)

    def _run(self, call: _Lookup, loop: asyncio.AbstractEventLoop) -> None:
        """Run a lookup in its own thread."""
        result: list[ResolveResult] | Exception
        try:
            result = self._lookup(call.host, call.port, call.family)
        except UnicodeError as error:
            result = NameLookupError(f"{call.host} is not a name: {error}")
        except Exception as error:  # raised again in `resolve`
            result = error
        with contextlib.suppress(RuntimeError):  # the event loop is closed
            loop.call_soon_threadsafe(self._ended, call, result)

    def _ended(self, call: _Lookup, result: list[ResolveResult] | Exception) -> None:
        self._running.discard(call)
        _settle(call, result)
        self._start()


def system_lookup(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    """Resolve a name with the system's resolver, without a time limit. Raises OSError or UnicodeError."""
    answers = socket.getaddrinfo(
        host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
    )
    return [
        ResolveResult(
            hostname=host,
            host=socket.getnameinfo(address, _NUMERIC)[0],
            port=port,
            family=found,
            proto=proto,
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
        for found, _, proto, _, address in answers
    ]


def _settle(call: _Lookup, result: list[ResolveResult] | Exception) -> None:
    if call.found.done():
        return
    if isinstance(result, Exception):
        call.found.set_exception(result)
    else:
        call.found.set_result(result)
