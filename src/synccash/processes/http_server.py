"""How connections are taken: whoever never finishes a request is hung up on, and broken HTTP is a problem."""

from asyncio import BaseTransport, TimerHandle
from http import HTTPStatus
from typing import Any, ClassVar, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from synccash.api.problem import rendered
from synccash.middleware.refusal import App, Refusal

_HEAD_MOST = 65_536
_REQUEST_MOST = 1_048_576
_TOO_LARGE = Refusal(
    status=431,
    code="headers_too_large",
    detail=f"The request line and headers are larger than the maximum of {_HEAD_MOST} bytes.",
    headers={"Connection": "close"},
)


class QuietUpgradeProtocol(HttpToolsProtocol):
    """HTTP/1.1. A connection has `within_s` seconds to bring the head of a request, and as long for what is
    left of a body when the answer is out; between requests uvicorn's own patience for idle ones holds.

    The head of a request has a most, and so has what chunks and trailers can add to a body: neither uvicorn
    nor its parser has one. Trailers are read over: a header that comes after the head was seen by no proxy.
    A body that is waited for is not this one's affair: the application can still answer.
    """

    within_s: ClassVar[float] = 10.0
    _patience: TimerHandle | None = None
    _whole = True
    _headed = False
    _head = 0
    _taken = 0

    def connection_made(self, transport: BaseTransport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """A client is there, and has said nothing yet."""
        super().connection_made(cast("Any", transport))
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._calm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes, of whatever."""
        super().data_received(data)
        if self._whole or self.transport.is_closing():
            return
        self._taken += len(data)
        if not self._headed and self._taken > _HEAD_MOST:
            self._refuse(_TOO_LARGE)
        elif self._taken > _REQUEST_MOST:
            self.transport.close()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._whole = self._headed = False
        self._head = self._taken = 0
        self._wait()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; one of a trailer is passed over."""
        if not self._headed:
            self._head += len(name) + len(value)
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head of a request: from here on the application decides how long to wait."""
        self._calm()
        self._headed = True
        if self._head + len(self.url) > _HEAD_MOST:
            raise ValueError(_TOO_LARGE.detail)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The last byte of a request."""
        self._whole = True
        self._calm()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is out, perhaps before the request was whole."""
        super().on_response_complete()
        if not self._whole:
            self._wait()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP."""
        if self._headed and self._head + len(self.url) > _HEAD_MOST:
            self._refuse(_TOO_LARGE)
        else:
            close = {"Connection": "close"}
            self._refuse(Refusal(status=400, code="malformed_request", detail=msg, headers=close))

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing is spoken here but HTTP/1.1; that a caller would rather speak otherwise is no news."""

    def _refuse(self, refusal: Refusal) -> None:
        """Answer what never becomes a request, and hang up."""
        headers, body = rendered({}, refusal)
        lines = [f"{name}: {value}" for name, value in headers.items()]
        first = f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}"
        head = "\r\n".join([first, *lines, f"Content-Length: {len(body)}", "", ""])
        self.transport.write(head.encode("latin-1") + body)
        self.transport.close()

    def _wait(self) -> None:
        self._calm()
        self._patience = self.loop.call_later(self.within_s, self._give_up)

    def _calm(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _give_up(self) -> None:
        self._patience = None
        if not self.transport.is_closing():
            self.transport.close()


def patient(within_s: float) -> type[QuietUpgradeProtocol]:
    """The protocol for connections that have `within_s` seconds for each step."""
    return type("QuietUpgradeProtocol", (QuietUpgradeProtocol,), {"within_s": within_s})


def configured(app: App, *, host: str, port: int, within_s: float, grace_s: int) -> uvicorn.Config:
    """The server that `app` stands behind. At the end, requests under way have `grace_s` seconds."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=patient(within_s),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        # Which proxies are believed is a setting of ours; uvicorn would believe all of its own host.
        proxy_headers=False,
        timeout_graceful_shutdown=grace_s,
    )
