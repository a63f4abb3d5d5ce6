"""Log events of the toolkit: each has a message for people and the same facts as fields for programs.

Each record of the logger `synccash.resilience` about a call or a breaker has a dict `resilience` with
`event`, `service` (the name of the policy or breaker), and

retry_again                attempt, error (its type; None: a returned failure), wait_s
retry_success              attempts, seconds; only after more than one attempt
retry_failure              attempts, seconds, error, why; the failure was not retryable
retry_exhausted            attempts, seconds, error, why; the failure was retryable
circuit_breaker_changed    before, after, reason, by, open_s
"""

import logging
import traceback
from contextlib import suppress
from typing import Any

from synccash.resilience.breaker_statistics import Transition

log = logging.getLogger("synccash.resilience")


def log_retry(service: str, attempt: int, error: Exception | None, wait_s: float) -> None:
    """Log that an attempt failed and another one follows after `wait_s` seconds."""
    message = "%s: attempt %d failed (%s), next attempt in %.2f s"
    kind = _error_type(error)
    _log(logging.INFO, "retry_again", service, message, attempt=attempt, error=kind, wait_s=wait_s)


def log_success(service: str, attempts: int, seconds: float) -> None:
    """Log that a call succeeded after retries."""
    message = "%s: succeeded after %d attempts in %.2f s"
    _log(logging.INFO, "retry_success", service, message, attempts=attempts, seconds=seconds)


def log_failure(service: str, attempts: int, seconds: float, error: Exception | None, why: str) -> None:
    """Log that a call failed and its failure is not retryable."""
    message = "%s: failed after %d attempts in %.2f s (%s): %s"
    facts: dict[str, Any] = {
        "attempts": attempts,
        "seconds": seconds,
        "error": _error_type(error),
        "why": why,
    }
    _log(logging.INFO, "retry_failure", service, message, **facts)


def log_exhausted(service: str, attempts: int, seconds: float, error: Exception | None, why: str) -> None:
    """Log that a call failed and no further attempt is allowed."""
    message = "%s: gave up after %d attempts in %.2f s (%s): %s"
    facts: dict[str, Any] = {
        "attempts": attempts,
        "seconds": seconds,
        "error": _error_type(error),
        "why": why,
    }
    _log(logging.WARNING, "retry_exhausted", service, message, **facts)


def log_transition(transition: Transition) -> None:
    """Log a change of a breaker's state."""
    before, after = transition.before.value, transition.after.value
    fields = {
        "event": "circuit_breaker_changed",
        "service": transition.name,
        "before": before,
        "after": after,
        "reason": transition.reason,
        "by": transition.by,
        "open_s": transition.open_s,
    }
    values = (transition.name, before, after, transition.reason)
    _write(logging.WARNING, "circuit breaker %s: %s -> %s: %s", values, {"resilience": fields})


def log_hook_error(name: str, hook: str) -> None:
    """Log the exception that is being handled, which a hook of the user has raised."""
    _write(logging.ERROR, "%s: %s raised an exception", (name, hook), exc_info=True)


def _error_type(error: Exception | None) -> str | None:
    return None if error is None else type(error).__name__


def _log(level: int, event: str, service: str, message: str, **facts: Any) -> None:
    if log.isEnabledFor(level):
        fields = {"event": event, "service": service, **facts}
        _write(level, message, (service, *facts.values()), {"resilience": fields})


def _write(
    level: int,
    message: str,
    values: tuple[object, ...],
    extra: dict[str, Any] | None = None,
    *,
    exc_info: bool = False,
) -> None:
    """Log a record. A filter or handler that raises must not change what becomes of a call: its exception is
    printed to stderr, as those that `logging.Handler.handleError` gets."""
    try:
        log.log(level, message, *values, extra=extra, exc_info=exc_info)
    except Exception:
        if logging.raiseExceptions:
            with suppress(Exception):  # stderr may be closed
                traceback.print_exc()
