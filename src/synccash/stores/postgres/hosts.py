"""Database URLs that name several hosts: connects to the one that takes writes.

asyncpg tries the hosts of a URL one after another within one time-out. A host that lost its power answers
nothing and would use up the time of all others. Here the next host is tried while the former one is silent.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import asyncpg

HEAD_START_S = 0.5
"""How long one host may be silent before the next one is tried too."""
ATTRIBUTE = "target_session_attrs"
_DEFAULT = "read-write"

Connect = Callable[..., Awaitable[Any]]


def host_urls(url: str) -> tuple[str, ...]:
    """Return a URL for each host that `url` names, in its order.

    The hosts are in the authority (`postgresql://a:5432,b:5433/db`), or in the parameters `host` and `port`,
    as unix sockets are. Raises ValueError when the number of ports is neither one nor that of the hosts.
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    account, at, authority = parts.netloc.rpartition("@")
    named = authority or query.get("host", "")
    hosts = named.split(",")
    if len(hosts) == 1:
        return (url,)
    ports = query["port"].split(",") if query.get("port") else []
    if len(ports) not in (0, 1, len(hosts)):
        raise ValueError(f"{len(hosts)} hosts and {len(ports)} ports")
    query.setdefault(ATTRIBUTE, _DEFAULT)
    urls: list[str] = []
    for number, host in enumerate(hosts):
        one = dict(query)
        if ports:
            one["port"] = ports[number % len(ports)]
        if authority:
            netloc = f"{account}{at}{host}"
        else:
            netloc, one["host"] = parts.netloc, host
        encoded = urlencode(one, quote_via=quote, safe="/")
        # Not `geturl`, which leaves out the slashes before an empty authority.
        urls.append(f"{parts.scheme}://{netloc}{parts.path}?{encoded}")
    return tuple(urls)


@dataclass(slots=True)
class HostChoice:
    """Connects to the host that takes writes, the last good one first. `switched` is called when it is
    another host than before: connections that were made earlier may lead to the former primary."""

    urls: Sequence[str]
    switched: Callable[[], Awaitable[None]]
    connect_to: Connect = asyncpg.connect
    head_start_s: float = HEAD_START_S
    _good: int | None = field(default=None, init=False)

    async def connect(self, _url: str, **options: Any) -> Any:
        """Return a connection; `asyncpg.create_pool` calls it. Raises what the first host raised."""
        first = self._good or 0
        order = [*range(first, len(self.urls)), *range(first)]
        number, connection = await self._race(order, options)
        former, self._good = self._good, number
        if former not in (None, number):
            await self.switched()
        return connection

    async def _race(self, order: Sequence[int], options: dict[str, Any]) -> tuple[int, Any]:
        """Start with the first host; add the next one when a host failed, or none answered in time."""
        waiting = list(order)
        trying: dict[asyncio.Task[Any], int] = {}
        errors: list[BaseException] = []
        try:
            while waiting or trying:
                if waiting:
                    number = waiting.pop(0)
                    task = asyncio.ensure_future(self.connect_to(self.urls[number], **options))
                    trying[task] = number
                done, _ = await asyncio.wait(
                    trying,
                    timeout=self.head_start_s if waiting else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for task in done:
                    number = trying.pop(task)
                    if (error := task.exception()) is None:
                        return number, task.result()
                    errors.append(error)
        finally:
            await _discard(trying)
        raise errors[0]


async def _discard(trying: dict["asyncio.Task[Any]", int]) -> None:
    """End the attempts that lost the race, and the connections that they made."""
    for task in trying:
        task.cancel()
    for made in await asyncio.gather(*trying, return_exceptions=True):
        if not isinstance(made, BaseException):
            made.terminate()
