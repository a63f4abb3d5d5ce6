"""What the toolkit says in the logs: a sentence for people, and the same as fields for programs.

Each record of the logger `synccash.resilience` that tells of a call or of a breaker has a dict `resilience`:
`event`, `service` (the name of the policy or breaker), and

retry_again                attempt, error (its type; None: a returned failure), wait_s
retry_success              attempts, seconds; only where there was more than one attempt
retry_failure              attempts, seconds, error, why: it was not to be repeated
retry_exhausted            attempts, seconds, error, why: it could have been repeated once more
circuit_breaker_changed    before, after, reason, by, open_s
"""

import logging
from typing import Any

from synccash.resilience.breaker_statistics import Transition

log = logging.getLogger("synccash.resilience")


def again(service: str, attempt: int, error: Exception | None, wait_s: float) -> None:
    """There will be another attempt."""
    sentence = "%s: attempt %d failed (%s), next in %.2f s"
    kind = _kind(error)
    _tell(logging.INFO, "retry_again", service, sentence, attempt=attempt, error=kind, wait_s=wait_s)


def succeeded(service: str, attempts: int, seconds: float) -> None:
    """A call was good in the end."""
    sentence = "%s: good after %d attempts in %.2f s"
    _tell(logging.INFO, "retry_success", service, sentence, attempts=attempts, seconds=seconds)


def failed(service: str, attempts: int, seconds: float, error: Exception | None, why: str) -> None:
    """A call failed in a way that is not to be repeated."""
    sentence = "%s: failed after %d attempts in %.2f s (%s): %s"
    facts: dict[str, Any] = {"attempts": attempts, "seconds": seconds, "error": _kind(error), "why": why}
    _tell(logging.INFO, "retry_failure", service, sentence, **facts)


def exhausted(service: str, attempts: int, seconds: float, error: Exception | None, why: str) -> None:
    """A call was given up."""
    sentence = "%s: gave up after %d attempts in %.2f s (%s): %s"
    facts: dict[str, Any] = {"attempts": attempts, "seconds": seconds, "error": _kind(error), "why": why}
    _tell(logging.WARNING, "retry_exhausted", service, sentence, **facts)


def changed(transition: Transition) -> None:
    """A breaker's state is another."""
    log.warning(
        "circuit breaker %s: %s -> %s: %s",
        transition.name,
        transition.before.value,
        transition.after.value,
        transition.reason,
        extra={
            "resilience": {
                "event": "circuit_breaker_changed",
                "service": transition.name,
                "before": transition.before.value,
                "after": transition.after.value,
                "reason": transition.reason,
                "by": transition.by,
                "open_s": transition.open_s,
            }
        },
    )


def _kind(error: Exception | None) -> str | None:
    return None if error is None else type(error).__name__


def _tell(level: int, event: str, service: str, sentence: str, **facts: Any) -> None:
    if log.isEnabledFor(level):
        fields = {"event": event, "service": service, **facts}
        log.log(level, sentence, service, *facts.values(), extra={"resilience": fields})
