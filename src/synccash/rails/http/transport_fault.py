"""Why a request to a rail has no answer."""

from enum import StrEnum


class TransportFault(StrEnum):
    """Why there is no answer to read."""

    TIMEOUT = "timeout"
    """No answer, or not all of it, in time. The evidence says whether the request may have left."""
    CONNECT_TIMEOUT = "connect_timeout"
    """No connection in time, or no free one in the pool."""
    UNREACHABLE = "unreachable"
    """The name is unknown, or the connection is refused."""
    TLS = "tls"
    """The handshake or the certificate failed."""
    BAD_URL = "bad_url"
    CONNECTION_LOST = "connection_lost"
    UNREADABLE = "unreadable"
    """What came is not HTTP, or the body broke off."""
    TOO_LARGE = "too_large"
    """The answer is longer than BODY_LIMIT."""
    REDIRECTED = "redirected"
    """A 3xx answer. It is not followed, and the rail may have executed the request."""
    CLOSED = "closed"
    """The transport was closed before."""


class ExchangeError(Exception):
    """There is no answer, because of `fault`."""

    def __init__(self, fault: TransportFault) -> None:
        super().__init__(fault.value)
        self.fault = fault
