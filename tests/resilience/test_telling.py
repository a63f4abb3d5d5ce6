"""What the logs say of calls and breakers: sentences, and the same as fields."""

import json
import logging

import pytest
import structlog

from synccash.observability.logs import configure_logging
from synccash.resilience import BreakerSettings, CircuitOpenError, Outcome, Policy, Retry, Verdict
from synccash.resilience.testing import FakeClock


@pytest.fixture
def told(caplog):
    """The fields of all that was said so far."""
    caplog.set_level(logging.DEBUG, "synccash.resilience")
    return lambda: [record.resilience for record in caplog.records]


def policy(**parts):
    clock = FakeClock()
    rules = {"retry": Retry(attempts=2, base=2.0, jitter="none", on=OSError)} | parts
    return Policy("rail", clock=clock, sleep=clock.sleep, **rules)


def flaky(*errors):
    left = list(errors)

    async def call():
        if left:
            raise left.pop(0)
        return "done"

    return call


async def test_a_call_that_is_good_in_the_end_is_told_and_one_that_is_good_at_once_is_not(told):
    far = policy()
    await far.call(flaky())
    assert told() == []
    await far.call(flaky(OSError()))
    again = {"event": "retry_again", "service": "rail", "attempt": 1, "error": "OSError", "wait_s": 2.0}
    good = {"event": "retry_success", "service": "rail", "attempts": 2, "seconds": 2.0}
    assert told() == [again, good]


async def test_a_call_that_is_given_up_says_why(told, caplog):
    with pytest.raises(OSError, match="down"):
        await policy().call(flaky(OSError("down"), OSError("down")))
    assert told()[-1] == {
        "event": "retry_exhausted",
        "service": "rail",
        "attempts": 2,
        "seconds": 2.0,
        "error": "OSError",
        "why": "2 attempts are all there are",
    }
    assert (
        caplog.messages[-1]
        == "rail: gave up after 2 attempts in 2.00 s (OSError): 2 attempts are all there are"
    )
    assert caplog.records[-1].levelname == "WARNING"


async def test_a_failure_that_is_not_to_be_repeated_is_another_event(told):
    with pytest.raises(ValueError, match="ours"):
        await policy().call(flaky(ValueError("ours")))
    [failure] = told()
    assert (failure["event"], failure["attempts"], failure["error"]) == ("retry_failure", 1, "ValueError")


async def test_where_nothing_is_ever_repeated_only_the_breaker_is_told_of(told):
    far = policy(retry=None, breaker=BreakerSettings(failures=1, open_s=30.0))
    far.breaker._random = lambda: 0.0
    with pytest.raises(OSError, match="down"):
        await far.call(flaky(OSError("down")))
    assert told() == [
        {
            "event": "circuit_breaker_changed",
            "service": "rail",
            "before": "closed",
            "after": "open",
            "reason": "1 failures in a row; last: OSError: down",
            "by": "breaker",
            "open_s": 30.0,
        }
    ]


async def test_in_the_service_they_are_lines_of_json(capsys):
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
    said = lines[1]
    assert (said["service"], said["attempts"], said["level"], said["logger"]) == (
        "rail",
        2,
        "info",
        "synccash.resilience",
    )


@pytest.mark.parametrize("returned", [False, True])
async def test_who_finds_no_place_for_another_attempt_is_told_the_real_cause(told, returned):
    """It may try again by all that is known, and then others probe: the caller still sees what happened."""
    far = policy(breaker=BreakerSettings(failures=5), classify=failed_or_not)
    breaker, clock = far.breaker, far._parts.clock

    async def sleep(seconds):
        breaker.adopt(1.0, "a peer saw it down")
        breaker.guard(lambda: False)
        clock.move(seconds)

    object.__setattr__(far._parts, "sleep", sleep)

    async def call():
        if returned:
            return 503
        raise OSError("down")

    if returned:
        assert await far.call(call) == 503
    else:
        with pytest.raises(OSError, match="down") as caught:
            await far.call(call)
        assert "the circuit breaker is open" in caught.value.__notes__[-1]
    assert told()[-1]["event"] == "retry_exhausted"
    with pytest.raises(CircuitOpenError):
        await far.call(call)


def failed_or_not(result):
    bad = result == 503 or isinstance(result, BaseException)
    return Verdict(Outcome.FAILED if bad else Outcome.OK, retry=bad)
