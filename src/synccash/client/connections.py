"""HTTP connections of `SyncCash`, which are reused. It needs only the standard library."""

import contextlib
import http.client
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from synccash.client.errors import APIConnectionError
from synccash.client.exchange import IDLE_S, Answer, Call, Service

_FAILURES = (OSError, http.client.HTTPException)


class Connections:
    """The connections of one client, shared by its threads. Each connection serves one call at a time."""

    def __init__(self, service: Service, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._service = service
        self._clock = clock
        self._idle: deque[tuple[http.client.HTTPConnection, float]] = deque()
        self._closed = False

    def exchange(self, call: Call[Any], timeout_s: float) -> Answer:
        """Send one request and read the whole response. `timeout_s` limits each wait on the network.

        Raises APIConnectionError.
        """
        connection = self._take()
        connection.timeout = timeout_s
        try:
            if connection.sock is None:
                connection.connect()
            else:
                connection.sock.settimeout(timeout_s)
        except _FAILURES as error:
            connection.close()
            raise _lost(error, call, sent=False) from error
        try:
            connection.request(
                call.method,
                self._service.prefix + call.path,
                body=call.body,
                headers=call.headers(self._service.api_key),
            )
            reply = connection.getresponse()
            headers = {name.lower(): value for name, value in reply.getheaders()}
            answer = Answer(reply.status, headers, reply.read())
        except BaseException as error:
            # Closes also when the program is interrupted: the next call must not read the rest of a response.
            connection.close()
            if isinstance(error, _FAILURES):
                raise _lost(error, call, sent=True) from error
            raise
        self._give_back(connection)
        return answer

    def close(self) -> None:
        """Close every connection; connections in use are closed after their calls."""
        self._closed = True
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop()[0].close()

    def _take(self) -> http.client.HTTPConnection:
        with contextlib.suppress(IndexError):
            while True:
                connection, since = self._idle.pop()
                if self._clock() - since < IDLE_S:
                    return connection
                connection.close()
        service = self._service
        kind = http.client.HTTPSConnection if service.secure else http.client.HTTPConnection
        return kind(service.host, service.port)

    def _give_back(self, connection: http.client.HTTPConnection) -> None:
        if self._closed or connection.sock is None:
            connection.close()
        else:
            self._idle.append((connection, self._clock()))


def _lost(error: BaseException, call: Call[Any], *, sent: bool) -> APIConnectionError:
    return APIConnectionError(f"{type(error).__name__}: {error}", call.key, sent=sent)
