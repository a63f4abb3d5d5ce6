"""HTTP connections of `AsyncSyncCash`, through aiohttp: `pip install 'synccash[client]'`."""

from typing import Any

try:
    import aiohttp
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "AsyncSyncCash needs aiohttp. Run: pip install 'synccash[client]' (SyncCash needs nothing)",
        name=error.name,
    ) from error
from yarl import URL

from synccash.client.errors import APIConnectionError
from synccash.client.exchange import IDLE_S, Answer, Call, Service

_NEVER_LEFT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


class _Once:
    """Prevents retries by aiohttp, because only the client decides which requests are repeated."""

    def __init__(self) -> None:
        self._tried = False

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if self._tried:
            raise aiohttp.ServerDisconnectedError
        self._tried = True
        return await handler(request)


class AsyncConnections:
    """The connections of one client. Use them inside one event loop."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._session: aiohttp.ClientSession | None = None

    async def exchange(self, call: Call[Any], timeout_s: float) -> Answer:
        """Send one request and read the whole response within `timeout_s` seconds. Raises
        APIConnectionError."""
        try:
            async with self._open().request(
                call.method,
                URL(self._service.origin + self._service.prefix + call.path, encoded=True),
                data=call.body,
                headers=call.headers(self._service.api_key),
                timeout=aiohttp.ClientTimeout(total=timeout_s, ceil_threshold=float("inf")),
                allow_redirects=False,
                middlewares=(_Once(),),
            ) as reply:
                headers = {name.lower(): value for name, value in reply.headers.items()}
                return Answer(reply.status, headers, await reply.read())
        except (aiohttp.ClientError, OSError) as error:
            sent = not isinstance(error, _NEVER_LEFT)
            raise APIConnectionError(f"{type(error).__name__}: {error}", call.key, sent=sent) from error

    async def aclose(self) -> None:
        """Close every connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._session
