"""A setting that makes no sense is refused when it is written, not in the middle of an outage."""

import asyncio
import pickle
from math import inf, nan

import pytest

from synccash.resilience import (
    BreakerSettings,
    Budget,
    Bulkhead,
    CircuitBreaker,
    Policy,
    ResilienceError,
    Retry,
)

NAN = "must be a number, not NaN"
WHOLE = "must be a whole number"


@pytest.mark.parametrize(
    ("kind", "setting", "value", "told"),
    [
        (Retry, "attempts", 0, "at least 1"),
        (Retry, "attempts", 2.5, WHOLE),
        (Retry, "attempts", True, WHOLE),
        (Retry, "base", nan, NAN),
        (Retry, "base", "1", "must be a number, not '1'"),
        (Retry, "cap", nan, NAN),
        (Retry, "cap", -1, "0 <= base <= cap"),
        (Retry, "strategy", "exponentail", "one of exponential, linear, fixed, immediate"),
        (Retry, "jitter", "ful", "one of full, equal, none"),
        (Retry, "on", [OSError], "a tuple of them"),
        (Retry, "on", (), "a tuple of them"),
        (Retry, "on", BaseException, "never tried again"),
        (Retry, "on", (OSError, asyncio.CancelledError), "never tried again"),
        (BreakerSettings, "failures", nan, WHOLE),
        (BreakerSettings, "failures", 0, "at least 1, or None"),
        (BreakerSettings, "min_calls", 1.5, WHOLE),
        (BreakerSettings, "slow_s", nan, NAN),
        (BreakerSettings, "slow_rate", 1.5, "at most 1"),
        (BreakerSettings, "window_s", nan, NAN),
        (BreakerSettings, "probe_hold_s", nan, NAN),
        (BreakerSettings, "open_growth", 1e9, "from 1 to 1,000"),
        (BreakerSettings, "probes_at_once", 2, "probes_at_once <= probes"),
        (Bulkhead, "limit", 2.5, WHOLE),
        (Bulkhead, "queue", -1, "queue >= 0"),
        (Budget, "share", nan, NAN),
        (Budget, "most", 0, "most of at least 1"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(kind, setting, value, told):
    needed = {"limit": 1} if kind is Bulkhead else {}
    with pytest.raises((ValueError, TypeError), match=told):
        kind(**{**needed, setting: value})


@pytest.mark.parametrize(
    ("part", "value", "told"),
    [
        ("retry", 3, "retry must be Retry, or None, not 3"),
        ("breaker", True, "breaker must be CircuitBreaker or BreakerSettings, or None"),
        ("bulkhead", 0, "bulkhead must be Bulkhead"),
        ("budget", 5, "budget must be Budget"),
        ("classify", 3, "classify must be a function"),
        ("attempt_timeout", 0, "above 0 seconds, or None"),
        ("total_timeout", nan, NAN),
    ],
)
def test_a_part_of_the_wrong_kind_is_refused(part, value, told):
    with pytest.raises((ValueError, TypeError), match=told):
        Policy("far", **{part: value})


def test_a_policy_put_round_a_function_without_a_name_is_refused():
    with pytest.raises(TypeError, match="first argument is its name"):
        Policy(print)  # pyright: ignore[reportArgumentType] - `@Policy` where `@Policy("far")` was meant


def test_no_cap_is_a_cap_too():
    assert Retry(cap=inf, jitter="none").delay(3, 0.0) == 2.0


def test_a_policy_cannot_be_changed():
    policy = Policy("far")
    with pytest.raises(AttributeError, match="immutable"):
        policy.name = "near"


def test_a_policy_and_a_breaker_show_what_they_are():
    policy = Policy("far", breaker=CircuitBreaker("far:pay"), total_timeout=5.0)
    told = "Policy('far', breaker=<CircuitBreaker 'far:pay' closed>, attempt_timeout=None, total_timeout=5.0"
    assert repr(policy).startswith(told)


def test_the_root_of_the_errors_survives_pickling_as_well():
    assert pickle.loads(pickle.dumps(ResilienceError("far"))).args == ("far",)
