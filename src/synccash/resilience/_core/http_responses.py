"""Reads the status of HTTP responses and exceptions by their shape: httpx, requests, aiohttp and urllib."""

from contextlib import suppress


def status_of(response: object) -> int | None:
    """Return the status of a response: `status_code` (httpx, requests) or `status` (aiohttp, urllib)."""
    for name in ("status_code", "status"):
        with suppress(Exception):  # any object may come, with properties that raise
            status = getattr(response, name, None)
            if isinstance(status, int) and 100 <= status <= 599:
                return status
    return None


def response_in(error: BaseException) -> object | None:
    """Return what has the status in an exception; None if there was no response that could be read.

    httpx and requests attach the response. The exceptions of aiohttp and urllib have its members themselves;
    when aiohttp cannot parse a response, its exception has the status 400 that no server sent.
    """
    with suppress(Exception):
        response: object = getattr(error, "response", None)
        if response is not None:
            return response
    causes = () if error.__cause__ is None else type(error.__cause__).__mro__
    if any(kind.__name__ == "HttpProcessingError" and _is_of_aiohttp(kind) for kind in causes):
        return None
    return error


def _is_of_aiohttp(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "aiohttp"
