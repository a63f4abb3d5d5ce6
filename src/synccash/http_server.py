"""How connections are taken: whoever never finishes a request is hung up on, and broken HTTP is a problem."""

from asyncio import BaseTransport, TimerHandle
from typing import Any, ClassVar, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from synccash.api.problem import rendered
from synccash.middleware.refusal import Refusal


class PatientProtocol(HttpToolsProtocol):
    """HTTP/1.1. A connection has `within_s` seconds to bring the head of a request, and as long for what is
    left of a body when the answer is out; between requests uvicorn's own patience for idle ones holds.

    A body that is waited for is not this one's affair: the application can still answer.
    """

    within_s: ClassVar[float] = 10.0
    _patience: TimerHandle | None = None
    _whole = True

    def connection_made(self, transport: BaseTransport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """A client is there, and has said nothing yet."""
        super().connection_made(cast("Any", transport))
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._calm()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._whole = False
        self._wait()

    def on_headers_complete(self) -> None:
        """The head of a request: from here on the application decides how long to wait."""
        self._calm()
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
        refusal = Refusal(status=400, code="malformed_request", detail=msg, headers={"Connection": "close"})
        headers, body = rendered({}, refusal)
        lines = [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join(["HTTP/1.1 400 Bad Request", *lines, f"Content-Length: {len(body)}", "", ""])
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


def patient(within_s: float) -> type[PatientProtocol]:
    """The protocol for connections that have `within_s` seconds for each step."""
    return type("PatientProtocol", (PatientProtocol,), {"within_s": within_s})
