"""The peers, set up as their documentation says. One that is not installed is named and skipped."""

import importlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

Fn = Callable[[], Any]
Make = Callable[[Fn], Fn]


def async_peers(fn: Callable[[], Awaitable[None]], *, every: bool) -> dict[str, Fn]:
    """Peers round a coroutine function."""
    return _made(fn, {**ASYNC, **(ASYNC_MORE if every else {})})


def sync_peers(fn: Callable[[], None], *, every: bool) -> dict[str, Fn]:
    """Peers round a plain function."""
    return _made(fn, {**SYNC, **(SYNC_MORE if every else {})})


def _made(fn: Fn, makers: Mapping[str, Make]) -> dict[str, Fn]:
    made: dict[str, Fn] = {}
    for name, make in makers.items():
        try:
            made[name] = make(fn)
        except ImportError as error:
            print(f"(without {name}: {error})")
    return made


def _module(name: str) -> Any:
    return importlib.import_module(name)


def _stamina(fn: Fn) -> Fn:
    return _module("stamina").retry(on=OSError, attempts=3)(fn)


def _circuitbreaker(fn: Fn) -> Fn:
    return _module("circuitbreaker").CircuitBreaker(failure_threshold=5, recovery_timeout=30)(fn)


def _aiobreaker(fn: Fn) -> Fn:
    breaker = _module("aiobreaker").CircuitBreaker(fail_max=5, timeout_duration=timedelta(seconds=30))
    return partial(breaker.call_async, fn)


def _stamina_aiobreaker(fn: Fn) -> Fn:
    breaker = _module("aiobreaker").CircuitBreaker(fail_max=5, timeout_duration=timedelta(seconds=30))

    # stamina has to see a coroutine function: round anything else it tries again only the making of one.
    async def guarded() -> Any:
        return await breaker.call_async(fn)

    return _module("stamina").retry(on=OSError, attempts=3)(guarded)


def _pyresilience(fn: Fn) -> Fn:
    lib = _module("pyresilience")
    return lib.resilient(
        retry=lib.RetryConfig(max_attempts=3, retry_on=(OSError,)),
        circuit_breaker=lib.CircuitBreakerConfig(failure_threshold=5),
    )(fn)


def _pyresilience_same(fn: Fn) -> Fn:
    """What ours does, as far as it can without its time-out, which would be a task a call."""
    lib = _module("pyresilience")
    return lib.resilient(
        retry=lib.RetryConfig(max_attempts=3, retry_on=(OSError,)),
        circuit_breaker=lib.CircuitBreakerConfig(
            failure_threshold=5,
            sliding_window_size=100,
            failure_rate_threshold=0.5,
            minimum_calls=10,
            slow_call_duration=5.0,
            slow_call_rate_threshold=0.5,
        ),
        retry_budget=lib.RetryBudgetConfig(),
    )(fn)


def _interlock(fn: Fn) -> Fn:
    lib = _module("interlock")
    return lib.CircuitBreaker(name="bench")(fn)


def _tenacity(fn: Fn) -> Fn:
    lib = _module("tenacity")
    return lib.retry(stop=lib.stop_after_attempt(3), retry=lib.retry_if_exception_type(OSError))(fn)


def _backoff(fn: Fn) -> Fn:
    lib = _module("backoff")
    return lib.on_exception(lib.expo, OSError, max_tries=3)(fn)


def _hyx(fn: Fn) -> Fn:
    breaker = _module("hyx.circuitbreaker").consecutive_breaker(
        exceptions=OSError, failure_threshold=5, recovery_time_secs=30, recovery_threshold=1
    )
    return breaker(fn)


def _purgatory(fn: Fn) -> Fn:
    factory = _module("purgatory").AsyncCircuitBreakerFactory(default_threshold=5, default_ttl=30)
    return factory("bench")(fn)


ASYNC: Mapping[str, Make] = {
    "circuitbreaker": _circuitbreaker,
    "aiobreaker": _aiobreaker,
    "interlock-cb": _interlock,
    "stamina": _stamina,
    "stamina + aiobreaker": _stamina_aiobreaker,
    "pyresilience: retry + breaker in a row": _pyresilience,
    "pyresilience: retry + breaker with window": _pyresilience_same,
}
ASYNC_MORE: Mapping[str, Make] = {
    "tenacity": _tenacity,
    "backoff": _backoff,
    "hyx: breaker": _hyx,
    "purgatory": _purgatory,
}
SYNC: Mapping[str, Make] = {
    "circuitbreaker": _circuitbreaker,
    "interlock-cb": _interlock,
    "stamina": _stamina,
    "pyresilience: retry + breaker in a row": _pyresilience,
    "pyresilience: retry + breaker with window": _pyresilience_same,
}
SYNC_MORE: Mapping[str, Make] = {"tenacity": _tenacity, "backoff": _backoff}
