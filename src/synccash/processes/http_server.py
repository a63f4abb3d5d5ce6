"""Configures uvicorn: limits the time and size of requests, and answers invalid HTTP with a problem."""

import asyncio
import re
import ssl
from asyncio import BaseTransport, TimerHandle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from synccash.api.problem import rendered
from synccash.middleware.refusal import App, Refusal, title_of
from synccash.processes.joining_transport import JoiningTransport
from synccash.settings.loader import Settings, SettingsError

_HEAD_MAX_BYTES = 65_536
_REQUEST_MAX_BYTES = 1_048_576
# Longer than load balancers keep an idle connection (HAProxy 5 s, nginx and AWS 60 s): if the server closed
# it first, a request that is already on its way would be lost.
_KEEP_ALIVE_S = 75
_TOO_LARGE = Refusal(
    status=431,
    code="headers_too_large",
    detail=f"The request line and headers are larger than the maximum of {_HEAD_MAX_BYTES} bytes.",
    headers={"Connection": "close"},
)
# uri-host [":" port] of RFC 3986, section 3.2: a name, an IPv4 address, or an IPv6 address in brackets.
_HOST = re.compile(rb"(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9\-._~%!$&'()*+,;=]*)(?::[0-9]{0,5})?")


class BoundedHttpProtocol(HttpToolsProtocol):
    """HTTP/1.1 with limits of time and size. A client has `timeout_s` seconds to send the head of a request,
    and as long for the rest of a body after the response was sent; between requests uvicorn's own keep-alive
    timeout applies. While the application waits for a body it can still answer, so `WholeBody` limits that.

    The head of a request has a maximum size, and so has what chunk headers and trailers add to a body,
    because neither uvicorn nor its parser limits them. Trailers are ignored: no proxy has checked a header
    that comes after the head.

    A request without a Host, with two, or with one that is no host gets 400 (RFC 9112, section 3.2): a proxy
    may have chosen by another one than the service would see.

    Where a body ends must be certain, or its rest could be read as another request (request smuggling). The
    parser refuses what is ambiguous, but for two things that get 400 here: a transfer coding besides chunked,
    and a body of a request to upgrade, which the parser leaves on the connection.

    While the process is `draining`, each response closes its connection, so that the client makes the next
    one to another process.
    """

    timeout_s: ClassVar[float] = 10.0
    _timer: TimerHandle | None = None
    _request_complete = True
    _head_complete = False
    _head_bytes = 0
    _request_bytes = 0
    _hosts: tuple[bytes, ...] = ()
    _codings: tuple[bytes, ...] = ()

    def connection_made(self, transport: BaseTransport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Start the timer of a new connection."""
        joining = JoiningTransport(cast("asyncio.Transport", transport), self.loop)
        super().connection_made(cast("Any", joining))
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer of a closed connection."""
        self._stop_timer()
        super().connection_lost(exc)

    def eof_received(self) -> None:
        """Close the connection when the client has; uvloop would close it without what is held."""
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Count the bytes of a request that is not complete, and end one that is too large."""
        super().data_received(data)
        if self._request_complete or self.transport.is_closing():
            return
        self._request_bytes += len(data)
        if not self._head_complete and self._request_bytes > _HEAD_MAX_BYTES:
            self._refuse(_TOO_LARGE)
        elif self._request_bytes > _REQUEST_MAX_BYTES:
            self.transport.close()

    def on_message_begin(self) -> None:
        """Start the timer and the counts of a request."""
        super().on_message_begin()
        self._request_complete = self._head_complete = False
        self._head_bytes = self._request_bytes = 0
        self._hosts = self._codings = ()
        self._start_timer()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; ignore one of a trailer."""
        if not self._head_complete:
            self._head_bytes += len(name) + len(value)
            if len(name) == 4 and name.lower() == b"host":
                self._hosts += (value,)
            elif len(name) == 17 and name.lower() == b"transfer-encoding":
                self._codings += (value.lower(),)
            super().on_header(name, value)

    @staticmethod
    def draining() -> bool:
        """Return whether the process is about to stop. `configured_protocol` replaces this."""
        return False

    def on_headers_complete(self) -> None:
        """Stop the timer: from here on the application decides how long to wait."""
        self._stop_timer()
        self._head_complete = True
        if self._head_bytes + len(self.url) > _HEAD_MAX_BYTES:
            raise ValueError(_TOO_LARGE.detail)
        if (error := self._head_error()) is not None:
            raise ValueError(error)
        super().on_headers_complete()
        if self.draining():
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Stop the timer: the request is complete."""
        self._request_complete = True
        self._stop_timer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Start the timer again when the response was sent before the request was complete."""
        super().on_response_complete()
        if not self._request_complete:
            self._start_timer()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not valid HTTP with a problem."""
        if self._head_complete and self._head_bytes + len(self.url) > _HEAD_MAX_BYTES:
            self._refuse(_TOO_LARGE)
        else:
            detail = (self._head_error() if self._head_complete else None) or msg
            close = {"Connection": "close"}
            self._refuse(Refusal(status=400, code="malformed_request", detail=detail, headers=close))

    def _head_error(self) -> str | None:
        if (error := self._host_error()) is not None:
            return error
        if self._codings not in ((), (b"chunked",)):
            return "The Transfer-Encoding is not supported. Send chunked, or a Content-Length."
        if self.parser is None:
            return None
        if self._codings and self.parser.get_http_version() == "1.0":
            return "A request in HTTP/1.0 has no Transfer-Encoding. Send a Content-Length."
        if self.parser.should_upgrade() and (self._codings or self._announces_body()):
            return (
                "A request to upgrade has no body. Send it without Connection: Upgrade; HTTP/1.1 is served."
            )
        return None

    def _announces_body(self) -> bool:
        return any(name == b"content-length" and value.strip(b"0") for name, value in self.headers)

    def _host_error(self) -> str | None:
        match self._hosts:
            case ():
                is_required = self.parser is not None and self.parser.get_http_version() != "1.0"
                return "The Host header is missing. Send exactly one." if is_required else None
            case (host,):
                is_host = _HOST.fullmatch(host) is not None
                return None if is_host else "The Host header is not a host with an optional port."
            case _:
                return "There is more than one Host header. Send exactly one."

    def _unsupported_upgrade_warning(self) -> None:
        """Serve a request to upgrade as any other, as only HTTP/1.1 is served, and close the connection: the
        parser has dropped what came behind it. Writes no warning, unlike uvicorn."""
        self.cycle.keep_alive = False

    def _refuse(self, refusal: Refusal) -> None:
        """Answer a request that never reaches the application, and close the connection."""
        headers, body = rendered({}, refusal)
        lines = [f"{name}: {value}" for name, value in headers.items()]
        first = f"HTTP/1.1 {refusal.status} {title_of(refusal.status)}"
        head = "\r\n".join([first, *lines, f"Content-Length: {len(body)}", "", ""])
        self.transport.write(head.encode("latin-1") + body)
        self.transport.close()

    def _start_timer(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(self.timeout_s, self._time_out)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_out(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.close()


def configured_protocol(timeout_s: float, draining: Callable[[], bool]) -> type[BoundedHttpProtocol]:
    """Return the protocol with these values; uvicorn creates its instances."""
    values = {"timeout_s": timeout_s, "draining": staticmethod(draining)}
    return type("BoundedHttpProtocol", (BoundedHttpProtocol,), values)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The files of a certificate with its chain, and of its key, both in PEM."""

    certificate: str
    key: str


def tls_files(settings: Settings) -> TlsFiles | None:
    """Return the certificate of the settings; None where the API is served without TLS.

    Loads both files once. Raises SettingsError where they are unusable.
    """
    certificate, key = settings.tls_certificate, settings.tls_key
    if not certificate and not key:
        return None
    if not certificate or not key:
        missing = "tls_key" if certificate else "tls_certificate"
        raise SettingsError(f"{missing} is not set; tls_certificate and tls_key belong together")
    for name, path in (("tls_certificate", certificate), ("tls_key", key)):
        try:
            with open(path, "rb"):  # noqa: PTH123 - whether this user may read it
                pass
        except OSError as error:
            raise SettingsError(f"{name}: cannot read {path}: {error.strerror}") from error
    try:
        # Without a function for the password, OpenSSL would ask for it on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, _no_password)
    except (ssl.SSLError, ValueError) as error:
        why = getattr(error, "reason", None) or error
        raise SettingsError(
            f"tls_certificate and tls_key cannot be used ({why}): expected a certificate with its chain, and "
            "the unencrypted key of that certificate, both in PEM"
        ) from error
    return TlsFiles(certificate, key)


def _no_password() -> NoReturn:
    raise ValueError("the key is encrypted")


def server_config(
    app: App,
    *,
    host: str,
    port: int,
    timeout_s: float,
    grace_s: int,
    draining: Callable[[], bool] = lambda: False,
    tls: TlsFiles | None = None,
) -> uvicorn.Config:
    """Return a server's configuration for `app`. At its stop, running requests have `grace_s` seconds."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=configured_protocol(timeout_s, draining),
        timeout_keep_alive=_KEEP_ALIVE_S,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        # Trusted proxies are a setting of the service; uvicorn would trust every client on its own host.
        proxy_headers=False,
        timeout_graceful_shutdown=grace_s,
        ssl_certfile=tls.certificate if tls is not None else None,
        ssl_keyfile=tls.key if tls is not None else None,
    )
