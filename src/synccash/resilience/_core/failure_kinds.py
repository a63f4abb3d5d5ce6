"""What an exception says about the dependency when neither `classify` nor `BreakerSettings.count` decides.

Bugs of our own code and requests that the dependency answered with 4xx are no failures of the dependency.
"""

from contextlib import suppress
from typing import Any

from synccash.resilience.verdict import Outcome

OWN_BUGS = (
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    NotImplementedError,
    SyntaxError,
    TypeError,
)
"""Exceptions that a mistake in our own code raises, such as KeyError. ValueError is not among them: parsing a
broken answer raises it too.
"""
_ABOUT_THE_DEPENDENCY = (408, 425, 429)


def outcome_of(error: BaseException) -> Outcome:
    """Return what an exception says about the health of the dependency."""
    if isinstance(error, OWN_BUGS):
        return Outcome.IGNORED
    status = _http_status(error)
    if status is not None and 400 <= status < 500 and status not in _ABOUT_THE_DEPENDENCY:
        return Outcome.OK
    return Outcome.FAILED


def _http_status(error: BaseException) -> int | None:
    """Return the status of the response in an exception of httpx, requests, aiohttp or urllib; else None."""
    with suppress(Exception):
        response: Any = getattr(error, "response", None)
        for holder, field in ((response, "status_code"), (response, "status"), (error, "status")):
            status = getattr(holder, field, None)
            if type(status) is int:
                return status
        if isinstance(error, OSError) and type(code := getattr(error, "code", None)) is int:
            return code
    return None
