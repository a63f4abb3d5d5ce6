"""What an exception says about the dependency when neither `classify` nor `BreakerSettings.count` decides.

Bugs of our own code and requests that the dependency answered with 4xx are no failures of the dependency.
"""

from synccash.resilience._core.http_responses import response_in, status_of
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
_ABOUT_THE_DEPENDENCY = (408, 429)
_TIMEOUTS = frozenset({"httpx.TimeoutException", "requests.Timeout", "urllib3.TimeoutError"})
"""Time-outs of HTTP clients that are no TimeoutError, as `package.Class`."""


def outcome_of(error: BaseException) -> Outcome:
    """Return what an exception says about the health of the dependency."""
    if isinstance(error, OWN_BUGS):
        return Outcome.IGNORED
    status = status_of(response_in(error))
    if status is not None and 400 <= status < 500 and status not in _ABOUT_THE_DEPENDENCY:
        return Outcome.OK
    return Outcome.FAILED


def is_timeout(error: BaseException) -> bool:
    """Tell whether the call took too long: by a TimeoutError, or by a time-out of an HTTP client."""
    return isinstance(error, TimeoutError) or any(
        f"{kind.__module__.partition('.')[0]}.{kind.__name__}" in _TIMEOUTS for kind in type(error).__mro__
    )
