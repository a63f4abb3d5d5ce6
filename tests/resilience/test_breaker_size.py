"""The memory of a healthy breaker, which matters because there may be one for each key."""

import tracemalloc

from synccash.resilience import BreakerSettings, CircuitBreaker, Outcome

MANY = 200
SETTINGS = BreakerSettings(failure_rate=0.5, slow_rate=0.5)


def bytes_of_each(breakers: list[CircuitBreaker], healthy_calls: int) -> float:
    """Return the bytes that Python allocates for each of many breakers with everything they refer to."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(MANY):
            breakers[number] = breaker = CircuitBreaker(f"rail-{number}:collect", SETTINGS)
            for _ in range(healthy_calls):
                breaker.record(breaker.acquire(), Outcome.OK, 0.001)
        return (tracemalloc.get_traced_memory()[0] - before) / MANY
    finally:
        tracemalloc.stop()


def test_an_idle_breaker_uses_at_most_600_bytes():
    unused = CircuitBreaker("warm", SETTINGS)
    assert bytes_of_each([unused] * MANY, healthy_calls=0) <= 600


def test_successful_calls_do_not_increase_the_size_of_a_breaker():
    unused = CircuitBreaker("warm", SETTINGS)
    assert bytes_of_each([unused] * MANY, healthy_calls=30) <= 600
