"""The troubles of rails, from the state of their breakers: what is one, and when it is over."""

from datetime import UTC, datetime, timedelta

from synccash.api.v1.troubles import (
    breaker_notices,
    breaker_troubles,
    callback_troubles,
    database_trouble,
    valkey_trouble,
)
from synccash.observability.health import DatabaseState
from synccash.payments.causes import Cause, CauseCode
from synccash.payments.document import moment
from synccash.stores.valkey.client import ValkeyState

NOW = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)


def breaker(state="closed", *, ago_s=1.0, code=CauseCode.TIMEOUT, reason="", **statistics):
    cause = Cause(code)
    failure = {
        "type": cause.code.value,
        "message": cause.message.removesuffix("."),
        "at": moment(NOW - timedelta(seconds=ago_s)),
        "action": cause.action,
    }
    counted = {"window_calls": 0, "window_failures": 0, "in_a_row": 0, "last_failure": failure}
    return {
        "name": "mtn_momo:collect",
        "state": state,
        "reason": reason,
        "retry_after": None,
        "statistics": {**counted, **statistics},
    }


def test_an_open_breaker_names_its_cause_and_what_to_do():
    (found,) = breaker_troubles([breaker("open", reason="3 failures in a row")], NOW)
    cause = Cause(CauseCode.TIMEOUT)
    assert (found["state"], found["cause"], found["action"]) == ("open", "timeout", cause.action)
    expected = f"3 failures in a row; last: timeout: {cause.message} {cause.action}"
    assert found["detail"] == expected
    assert found["since"] == "2026-03-02T01:59:59.000Z"


def test_a_cause_that_the_reason_names_is_not_repeated():
    message = Cause(CauseCode.TIMEOUT).message.removesuffix(".")
    (found,) = breaker_troubles(
        [breaker("open", reason=f"3 failures in a row; last: timeout: {message}")], NOW
    )
    assert found["detail"].count("timeout:") == 1


def test_down_and_hanging_read_differently():
    down, hanging = (
        breaker_troubles([breaker("open", code=code)], NOW)[0]
        for code in (CauseCode.UNREACHABLE, CauseCode.TIMEOUT)
    )
    assert "accepts no connection" in down["detail"]
    assert "hangs" in hanging["detail"]


def test_a_half_open_breaker_is_a_trouble_only_while_its_failure_is_recent():
    assert [one["state"] for one in breaker_troubles([breaker("half_open")], NOW)] == ["half_open"]
    assert breaker_notices([breaker("half_open")], NOW) == []
    idle = breaker("half_open", ago_s=61.0)
    assert breaker_troubles([idle], NOW) == []
    assert [one["state"] for one in breaker_notices([idle], NOW)] == ["half_open"]


def test_a_breaker_that_is_open_stays_a_trouble_however_old_the_failure():
    assert breaker_troubles([breaker("open", ago_s=600.0)], NOW) != []


def test_a_closed_breaker_is_a_trouble_while_a_fifth_of_its_calls_fail():
    assert breaker_troubles([breaker(window_calls=20, window_failures=3)], NOW) == []
    (found,) = breaker_troubles([breaker(window_calls=15, window_failures=3)], NOW)
    assert found["state"] == "failing"
    assert breaker_troubles([breaker(window_calls=15, window_failures=3, ago_s=61.0)], NOW) == []


def test_a_breaker_that_an_operator_opened_says_so_and_has_no_cause():
    one = breaker("forced_open", reason="MTN maintenance until 03:00", last_failure=None)
    (found,) = breaker_troubles([one], NOW)
    assert found["detail"] == "MTN maintenance until 03:00. Reset it when the reason is over."
    assert found["cause"] is None


def test_missing_callbacks_are_a_trouble_with_a_code():
    (found,) = callback_troubles([("mtn_momo", 3)])
    assert (found["what"], found["cause"]) == ("mtn_momo:callbacks", "callbacks_missing")
    assert "public_url" in found["detail"]


def test_each_way_in_which_postgresql_fails_has_its_own_words_and_what_to_do():
    found = {state: database_trouble(state) for state in DatabaseState if state is not DatabaseState.OK}
    assert database_trouble(DatabaseState.OK) is None
    assert len({one["detail"] for one in found.values()}) == len(found)
    assert "hangs" in found["silent"]["detail"]
    assert "accepts no connection" in found["away"]["detail"]
    assert "takes no writes" in found["read_only"]["detail"]
    assert all(one["action"] in one["detail"] for one in found.values())


def test_each_way_in_which_valkey_fails_has_its_own_words_and_what_to_do():
    found = {state: valkey_trouble(state) for state in ValkeyState if state is not ValkeyState.OK}
    assert valkey_trouble(ValkeyState.OK) is None
    assert len({one["detail"] for one in found.values()}) == len(found)
    assert "hangs" in found["silent"]["detail"]
    assert "accepts no connection" in found["away"]["detail"]
    assert all(one["action"] in one["detail"] for one in found.values())
