"""Sends each callback to the caller's URL once, without a retry, whatever the response is."""

import asyncio
import logging

import aiohttp

from synccash.sandbox.wire import Message

_log = logging.getLogger(__name__)


class CallbackSender:
    """Sends callbacks in background tasks; `close` cancels those that are under way."""

    def __init__(self, timeout_s: float = 5.0) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None
        self._running: set[asyncio.Task[None]] = set()

    @property
    def is_busy(self) -> bool:
        """Whether a callback is under way."""
        return bool(self._running)

    def send(self, message: Message) -> asyncio.Task[None]:
        """Send one callback. The task ends after the response, a refusal or a time-out, and never fails."""
        task = asyncio.create_task(self._deliver(message))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _deliver(self, message: Message) -> None:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout, trust_env=False)
        headers = {"Content-Type": "application/json", **message.headers}
        try:
            async with self._session.request(
                message.method, message.url, data=message.body, headers=headers, allow_redirects=False
            ) as response:
                _log.debug("callback to %s answered %s", message.url, response.status)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            _log.debug("callback to %s was not delivered: %r", message.url, error)

    async def close(self) -> None:
        """Cancel the callbacks that are under way, and close the connections."""
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
