"""Log events of retries and breakers, as messages and as fields."""

import json
import logging

import pytest
import structlog

from synccash.observability.logs import configure_logging
from synccash.resilience import BreakerSettings, CircuitOpenError, Outcome, Policy, Retry, Verdict
from synccash.resilience.testing import FakeClock


@pytest.fixture
def events(caplog):
    """Returns the fields of all events logged so far."""
    caplog.set_level(logging.DEBUG, "synccash.resilience")
    return lambda: [record.resilience for record in caplog.records]


def policy(**parts):
    clock = FakeClock()
    retry = Retry(attempts=2, base=2.0, jitter="none", on=OSError)
    return Policy("rail", **{"clock": clock, "sleep": clock.sleep, "retry": retry} | parts)


def flaky(*errors):
    left = list(errors)

    async def call():
        if left:
            raise left.pop(0)
        return "done"

    return call


async def test_a_success_is_logged_only_after_a_retry(events):
    retrying = policy()
    await retrying.call(flaky())
    assert events() == []
    await retrying.call(flaky(OSError()))
    again = {"event": "retry_again", "service": "rail", "attempt": 1, "error": "OSError", "wait_s": 2.0}
    good = {"event": "retry_success", "service": "rail", "attempts": 2, "seconds": 2.0}
    assert events() == [again, good]


async def test_an_exhausted_call_is_logged_with_its_reason(events, caplog):
    with pytest.raises(OSError, match="down"):
        await policy().call(flaky(OSError("down"), OSError("down")))
    assert events()[-1] == {
        "event": "retry_exhausted",
        "service": "rail",
        "attempts": 2,
        "seconds": 2.0,
        "error": "OSError",
        "why": "the limit is 2 attempts",
    }
    assert (
        caplog.messages[-1] == "rail: gave up after 2 attempts in 2.00 s (OSError): the limit is 2 attempts"
    )
    assert caplog.records[-1].levelname == "WARNING"


async def test_a_failure_that_is_not_retryable_has_its_own_event(events):
    with pytest.raises(ValueError, match="ours"):
        await policy().call(flaky(ValueError("ours")))
    [failure] = events()
    assert (failure["event"], failure["attempts"], failure["error"]) == ("retry_failure", 1, "ValueError")


async def test_a_policy_without_retry_logs_only_breaker_changes(events):
    retrying = policy(retry=None, breaker=BreakerSettings(failures=1, open_s=30.0))
    with pytest.raises(OSError, match="down"):
        await retrying.call(flaky(OSError("down")))
    [changed] = events()
    assert 30.0 <= changed.pop("open_s") <= 33.0
    assert [changed] == [
        {
            "event": "circuit_breaker_changed",
            "service": "rail",
            "before": "closed",
            "after": "open",
            "reason": "1 failures in a row; last: OSError: down",
            "by": "breaker",
        }
    ]


async def test_the_service_writes_the_events_as_json_lines(capsys):
    root, toolkit = logging.getLogger(), logging.getLogger("synccash.resilience")
    before = root.handlers[:], root.level, toolkit.level
    try:
        configure_logging("info")
        await policy().call(flaky(OSError()))
    finally:
        structlog.reset_defaults()
        root.handlers[:] = before[0]
        root.setLevel(before[1])
        toolkit.setLevel(before[2])
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["retry_again", "retry_success"]
    success = lines[1]
    assert (success["service"], success["attempts"], success["level"], success["logger"]) == (
        "rail",
        2,
        "info",
        "synccash.resilience",
    )


@pytest.mark.parametrize("returned", [False, True])
async def test_a_retry_without_a_probe_slot_raises_the_error_of_the_last_attempt(events, returned):
    """The breaker turns half-open during the wait and allows no probe: the first error must not be hidden."""
    clock = FakeClock()

    async def sleep(seconds):
        retrying.breaker.adopt(1.0, "a peer saw it down")
        retrying.breaker.guard(lambda: False)
        clock.move(seconds)

    retrying = policy(
        retry=Retry(attempts=2, base=2.0, jitter="none"),
        breaker=BreakerSettings(failures=5),
        classify=failed_or_not,
        clock=clock,
        sleep=sleep,
    )

    async def call():
        if returned:
            return 503
        raise OSError("down")

    if returned:
        assert await retrying.call(call) == 503
    else:
        with pytest.raises(OSError, match="down") as caught:
            await retrying.call(call)
        assert "the circuit breaker is open" in caught.value.__notes__[-1]
    assert events()[-1]["event"] == "retry_exhausted"
    with pytest.raises(CircuitOpenError):
        await retrying.call(call)


def failed_or_not(result):
    bad = result == 503 or isinstance(result, BaseException)
    return Verdict(Outcome.FAILED if bad else Outcome.OK, retry=bad)
