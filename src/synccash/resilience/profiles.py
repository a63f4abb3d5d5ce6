"""Default retry, breaker and time-out settings for each kind of dependency, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass

from synccash.resilience._core.numbers import require_number
from synccash.resilience.circuit_breaker import BreakerSettings
from synccash.resilience.retry import Retry


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The settings for calls to one kind of dependency. Times in seconds."""

    retry: Retry
    breaker: BreakerSettings
    attempt_timeout: float = 5.0
    total_timeout: float = 60.0

    def __post_init__(self) -> None:
        require_number(attempt_timeout=self.attempt_timeout, total_timeout=self.total_timeout)
        if self.attempt_timeout <= 0 or self.total_timeout <= 0:
            raise ValueError("attempt_timeout and total_timeout must be above 0")


PAYMENT_PROVIDER = Profile(
    retry=Retry(attempts=3, base=2.0, cap=30.0),
    breaker=BreakerSettings(failures=3, open_s=30.0, slow_rate=0.5, slow_s=4.0, window=100, min_calls=10),
)
FRAUD_DETECTION = Profile(
    retry=Retry(attempts=2, base=1.0, cap=10.0),
    breaker=BreakerSettings(failures=5, open_s=60.0),
    attempt_timeout=2.0,
    total_timeout=6.0,
)
DATABASE = Profile(
    retry=Retry(attempts=3, base=0.5, cap=5.0),
    breaker=BreakerSettings(failures=5, open_s=5.0),
    attempt_timeout=5.0,
    total_timeout=6.0,
)
WEBHOOK = Profile(
    # The webhook outbox schedules further deliveries, for up to 72 hours.
    retry=Retry(attempts=1),
    breaker=BreakerSettings(failures=5, open_s=30.0),
    attempt_timeout=10.0,
)
VALKEY = Profile(
    retry=Retry(attempts=1),
    # A constant open time: while Valkey is down, one call a second probes it, so that it is in use again
    # within a second of its recovery.
    breaker=BreakerSettings(failures=3, open_s=1.0, open_growth=1.0),
    attempt_timeout=0.05,
)

PROFILES = {
    "*": PAYMENT_PROVIDER,
    "fraud": FRAUD_DETECTION,
    "database": DATABASE,
    "webhook": WEBHOOK,
    "valkey": VALKEY,
}
"""Profiles by service. `*` applies to every other service: a payment provider."""


def own_profile_of(profiles: Mapping[str, Profile], name: str) -> Profile | None:
    """Return the profile of `service:operation`: that of the name, of `service:*` or of `service`."""
    service = name.partition(":")[0]
    for key in (name, f"{service}:*", service):
        if key in profiles:
            return profiles[key]
    return None


def profile_of(profiles: Mapping[str, Profile], name: str) -> Profile:
    """Return the profile of `service:operation`: that of the name, of `service:*`, of `service` or of `*`."""
    return own_profile_of(profiles, name) or profiles["*"]
