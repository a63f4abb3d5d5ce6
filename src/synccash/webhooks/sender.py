"""Sends webhook requests over HTTP: to checked addresses only, without redirects, with short time-outs."""

import asyncio
import contextlib
import socket
from collections.abc import Mapping

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from synccash.payments.webhook import DeliveryResult
from synccash.webhooks.address import SETTING, AddressRefusedError, check_url, is_public
from synccash.webhooks.name_lookups import NameLookupError, NameLookups

_READ_LIMIT = 2_048
_REST_S = 1.0


_FAILURES: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.ClientConnectorCertificateError, "its TLS certificate is not valid"),
    (aiohttp.ClientSSLError, "the TLS handshake failed"),
    (aiohttp.ClientConnectorDNSError, "its name does not resolve"),
    (aiohttp.ClientConnectorError, "it accepts no connection"),
    (aiohttp.ServerConnectionError, "it broke the connection before its answer"),
    (aiohttp.ClientOSError, "it broke the connection before its answer"),
    (aiohttp.ClientResponseError, "its answer is not valid HTTP"),
    (aiohttp.ClientPayloadError, "its answer is not valid HTTP"),
)
"""What happened, for the first class that fits."""


class WebhookSender:
    """Posts through one connection pool, opened at its first use. `private` also allows addresses that are
    not public."""

    def __init__(self, *, private: bool = False, resolver: AbstractResolver | None = None) -> None:
        self._private = private
        self._resolver = resolver or NameLookups()
        self._session: aiohttp.ClientSession | None = None

    async def post(
        self, url: str, *, headers: Mapping[str, str], body: bytes, timeout_s: float
    ) -> DeliveryResult:
        """Send one request. Returns failures of the merchant's server instead of raising them.

        `timeout_s` limits all of it: name lookup, connection, TLS and response.
        """
        try:
            check_url(url, private=self._private)
            request = self._open().post(
                url,
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout_s, ceil_threshold=float("inf")),
            )
            async with request as response:
                start = await _start(response)
                response.close()
                return DeliveryResult(
                    status=response.status,
                    error=None if response.ok else f"HTTP {response.status}",
                    retry_after_s=_seconds(response.headers.get("Retry-After")),
                    body=start,
                )
        except AddressRefusedError as error:
            return DeliveryResult(error=f"address refused: {error}")
        except TimeoutError:
            return DeliveryResult(error=f"no answer within {timeout_s:.0f} s")
        except (aiohttp.ClientError, OSError) as error:
            refused = _cause(error)
            return DeliveryResult(error=str(refused) if refused else _words(error))

    async def aclose(self) -> None:
        """Close every connection, and fail pending name lookups."""
        if self._session is not None:
            await self._resolver.close()
            await self._session.close()
            await asyncio.sleep(0)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                # No limit by host: merchants may share one, and the dispatcher limits each of them.
                limit=0,
                resolver=self._resolver if self._private else PublicOnly(self._resolver),
                use_dns_cache=False,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "synccash-webhooks"},
                trust_env=False,
            )
        return self._session


class PublicOnly(AbstractResolver):
    """Resolves a name at each use and refuses it when any of its addresses is not public.

    The connection uses the checked addresses, so a name that resolves differently later (DNS rebinding) has
    no effect.
    """

    def __init__(self, inner: AbstractResolver) -> None:
        self._inner = inner

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a name. Raises OSError."""
        found = await self._inner.resolve(host, port, family)
        if not found or not all(is_public(answer["host"]) for answer in found):
            raise _NotPublicError(
                f"address refused: {host} does not lead to a public address; the setting {SETTING} allows "
                "others"
            )
        return found

    async def close(self) -> None:
        """Close the inner resolver."""
        await self._inner.close()


async def _start(response: aiohttp.ClientResponse) -> bytes:
    """Return the first bytes of a response's body, _READ_LIMIT at most.

    Once some have arrived, the rest is waited for only shortly: the status decides, and only the answer to a
    challenge is read.
    """
    found = await response.content.read(_READ_LIMIT)
    with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
        async with asyncio.timeout(_REST_S):
            while 0 < len(found) < _READ_LIMIT and not response.content.at_eof():
                found += await response.content.read(_READ_LIMIT - len(found))
    return found


def _words(error: Exception) -> str:
    return next((words for kind, words in _FAILURES if isinstance(error, kind)), type(error).__name__)


class _NotPublicError(OSError):
    pass


def _cause(error: BaseException | None) -> OSError | None:
    while error is not None:
        if isinstance(error, _NotPublicError | NameLookupError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _seconds(text: str | None) -> float | None:
    """Read Retry-After in seconds; dates are ignored, and the wait is capped at one day."""
    return min(float(text), 86_400.0) if text is not None and text.isascii() and text.isdigit() else None
