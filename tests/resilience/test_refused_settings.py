"""Invalid settings raise when they are created, not during an outage."""

import asyncio
import pickle
import subprocess
import sys
from math import inf, nan
from unittest import mock

import pytest

from synccash.resilience import (
    BreakerSettings,
    Budget,
    Bulkhead,
    CircuitBreaker,
    Outcome,
    Policy,
    ResilienceError,
    Retry,
    Verdict,
)

NAN = "must be a number, not NaN"
WHOLE = "must be a whole number"


@pytest.mark.parametrize(
    ("kind", "setting", "value", "message"),
    [
        (Retry, "attempts", 0, "at least 1"),
        (Retry, "attempts", 2.5, WHOLE),
        (Retry, "attempts", True, WHOLE),
        (Retry, "base", nan, NAN),
        (Retry, "base", "1", "must be a number, not '1'"),
        (Retry, "cap", nan, NAN),
        (Retry, "retry_after_cap", nan, NAN),
        (Retry, "retry_after_cap", -1, "at least 0"),
        (BreakerSettings, "count", [OSError], "count must be an Exception class, a tuple of them"),
        (Retry, "cap", -1, "0 <= base <= cap"),
        (Retry, "strategy", "exponentail", "one of exponential, linear, fixed, immediate"),
        (Retry, "jitter", "ful", "one of full, equal, none"),
        (Retry, "on", [OSError], "a tuple of them"),
        (Retry, "on", (), "a tuple of them"),
        (Retry, "on", BaseException, "never retried"),
        (Retry, "on", (OSError, asyncio.CancelledError), "never retried"),
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
def test_an_invalid_setting_is_refused(kind, setting, value, message):
    needed = {"limit": 1} if kind is Bulkhead else {}
    with pytest.raises((ValueError, TypeError), match=message):
        kind(**{**needed, setting: value})


@pytest.mark.parametrize(
    ("part", "value", "message"),
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
def test_a_policy_part_of_the_wrong_type_is_refused(part, value, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Policy("rates", **{part: value})


def test_a_policy_without_a_name_is_refused():
    with pytest.raises(TypeError, match="first argument is its name"):
        Policy(print)  # pyright: ignore[reportArgumentType] - `@Policy` where `@Policy("rates")` was meant


def test_an_infinite_cap_is_allowed():
    assert Retry(cap=inf, jitter="none").delay(3, 0.0) == 2.0


def test_a_policy_is_immutable():
    policy = Policy("rates")
    with pytest.raises(AttributeError, match="immutable"):
        policy.name = "other"


def test_a_policy_is_not_changed_by_an_attempt_to_patch_it():
    policy = Policy("rates")
    with pytest.raises(AttributeError, match="immutable"), mock.patch.object(policy, "call_sync"):
        pass
    assert policy.call_sync(lambda: "fine") == "fine"


def judge(result: object) -> Verdict:
    return Verdict(Outcome.FAILED if isinstance(result, Exception) else Outcome.OK)


def test_the_repr_of_a_policy_shows_its_parts():
    policy = Policy("rates", breaker=CircuitBreaker("rates:pay"), total_timeout=5.0, budget=None, gated=False)
    assert repr(policy) == (
        "Policy('rates', breaker=<CircuitBreaker 'rates:pay' closed>, total_timeout=5.0, interrupt=True, "
        "gated=False)"
    )
    full = Policy("rates", retry=Retry(), bulkhead=Bulkhead(limit=2), classify=judge, idempotent=True)
    assert repr(full) == (
        f"Policy('rates', retry={Retry()!r}, bulkhead={Bulkhead(limit=2)!r}, budget={Budget()!r}, "
        "idempotent=True, classify=judge)"
    )


def test_on_beside_classify_is_refused():
    with pytest.raises(ValueError, match="takes no on=… beside it"):
        Policy("rates", retry=Retry(on=OSError), classify=judge)


def test_an_outcome_or_a_wait_of_the_wrong_type_is_refused():
    with pytest.raises(TypeError, match="outcome must be an Outcome"):
        Verdict("failed")  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="retry_after must be a number, not '5'"):
        Verdict(Outcome.FAILED, retry_after="5")  # pyright: ignore[reportArgumentType]


def test_a_build_without_the_gil_is_refused():
    code = "import sys; sys._is_gil_enabled = lambda: False; import synccash.resilience"
    run = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, check=False)
    assert run.returncode == 1
    assert "RuntimeError: synccash.resilience needs the GIL" in run.stderr


def test_the_base_error_keeps_its_arguments_when_pickled():
    assert pickle.loads(pickle.dumps(ResilienceError("rates"))).args == ("rates",)


def test_an_async_function_that_nothing_awaits_is_refused():
    async def never(error: BaseException) -> bool:
        return False

    for make in (lambda: Retry(on=never), lambda: BreakerSettings(count=never)):
        with pytest.raises(TypeError, match="must be a plain function"):
            make()
