"""What a breaker that nothing happens to costs: there may be one for each key."""

import tracemalloc

from synccash.resilience import BreakerSettings, CircuitBreaker, Outcome

MANY = 200
SETTINGS = BreakerSettings(failure_rate=0.5, slow_rate=0.5)


def bytes_of_each(breakers: list[CircuitBreaker], healthy_calls: int) -> float:
    """What Python has allocated for each of many breakers, its lock and all that hangs on it."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(MANY):
            breakers[number] = breaker = CircuitBreaker(f"rail-{number}:collect", SETTINGS)
            for _ in range(healthy_calls):
                breaker.leave(breaker.enter(), Outcome.OK, 0.001)
        return (tracemalloc.get_traced_memory()[0] - before) / MANY
    finally:
        tracemalloc.stop()


def test_an_idle_breaker_costs_no_more_than_600_bytes():
    unused = CircuitBreaker("warm", SETTINGS)
    assert bytes_of_each([unused] * MANY, healthy_calls=0) <= 600


def test_healthy_calls_do_not_make_it_grow():
    unused = CircuitBreaker("warm", SETTINGS)
    assert bytes_of_each([unused] * MANY, healthy_calls=30) <= 600
