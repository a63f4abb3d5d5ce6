"""Troubles of rails for the operator's health view, from the state of their breakers. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from synccash.payments.causes import Cause, CauseCode
from synccash.payments.server_causes import DATABASE_CAUSES, VALKEY_CAUSES, ServerCause

_RECENT = timedelta(seconds=60)
"""A failure that is older is over, unless its breaker still refuses calls: an idle rail is not in trouble."""
_FAILING_SHARE = 0.2
_FAILURES_MIN = 3

SENDS_HELD = (
    "Nothing is sent for any order, because the database may lack commits: PostgreSQL is another server than "
    "before (a standby was promoted, or a backup restored), or an operator started a recovery. `synccash "
    "recovery status` shows why and since when. After a failover see A failover of PostgreSQL in "
    "docs/operating.md, else Restoring a backup; `synccash recovery release` lets sends go on."
)

Trouble = dict[str, Any]


def trouble(what: str, state: str, detail: str, **more: Any) -> Trouble:
    """Return one trouble; what is not known of it is None."""
    unknown = {"retry_after": None, "cause": None, "action": None, "since": None}
    return {"what": what, "state": state, "detail": detail, **unknown, **more}


def breaker_troubles(breakers: Iterable[Mapping[str, Any]], now: datetime) -> list[Trouble]:
    """Return the troubles that breakers show: open ones, and those whose calls fail now.

    A half-open breaker whose latest failure is old is none: it waits for a call that tests the rail.
    """
    found = [(one, _state(one, now)) for one in breakers]
    return [_breaker_trouble(one, state) for one, state in found if state is not None]


def breaker_notices(breakers: Iterable[Mapping[str, Any]], now: datetime) -> list[dict[str, str]]:
    """Return the half-open breakers that no call has tested since their open time."""
    detail = "Its open time is over. The next call tests the rail, and closes the breaker if it succeeds."
    return [
        {"what": one["name"], "state": "half_open", "detail": detail}
        for one in breakers
        if one["state"] == "half_open" and _state(one, now) is None
    ]


def callback_troubles(rails: Sequence[tuple[str, int]]) -> list[Trouble]:
    """Return the troubles of rails whose latest ends all came without a callback, with the number of ends."""
    cause = Cause(CauseCode.CALLBACKS_MISSING)
    return [
        trouble(
            f"{rail}:callbacks",
            "missing",
            f"{cause.message} None came for the last {ends} ends. {cause.action}",
            cause=cause.code.value,
            action=cause.action,
        )
        for rail, ends in rails
    ]


def database_trouble(state: str) -> Trouble | None:
    """Return the trouble of PostgreSQL with what to do about it; None when it works."""
    if state == "ok":
        return None
    return _server_trouble("postgresql", state, DATABASE_CAUSES[state])


def valkey_trouble(state: str) -> Trouble | None:
    """Return the trouble of Valkey with what to do about it; None when it works."""
    if state == "ok":
        return None
    return _server_trouble("valkey", state, VALKEY_CAUSES[state])


def _server_trouble(what: str, state: str, cause: ServerCause) -> Trouble:
    return trouble(what, state, f"{cause.sentence} {cause.action}", action=cause.action)


def _state(breaker: Mapping[str, Any], now: datetime) -> str | None:
    """Return the state of a breaker as a trouble; None when it is none."""
    state, statistics = breaker["state"], breaker["statistics"]
    if state in ("open", "forced_open"):
        return state
    failure = statistics["last_failure"]
    if failure is None or now - datetime.fromisoformat(failure["at"]) > _RECENT:
        return None
    if state == "half_open":
        return state
    failures, calls = statistics["window_failures"], statistics["window_calls"]
    often = failures >= _FAILURES_MIN and failures >= _FAILING_SHARE * calls
    return "failing" if often or statistics["in_a_row"] >= _FAILURES_MIN - 1 else None


def _breaker_trouble(breaker: Mapping[str, Any], state: str) -> Trouble:
    failure = breaker["statistics"]["last_failure"]
    if state == "forced_open" or failure is None:
        action = "Reset it when the reason is over." if state == "forced_open" else None
        detail = f"{(breaker['reason'] or '').removesuffix('.')}. {action or ''}".strip()
        return trouble(breaker["name"], state, detail, retry_after=breaker["retry_after"], action=action)
    happened = breaker["reason"] or ""
    if state == "failing":
        happened = f"Some calls fail; last: {failure['type']}: {failure['message']}"
    elif failure["message"] not in happened:
        happened = f"{happened}; last: {failure['type']}: {failure['message']}".removeprefix("; ")
    action = failure["action"]
    return trouble(
        breaker["name"],
        state,
        f"{happened.removesuffix('.')}. {action or ''}".strip(),
        retry_after=breaker["retry_after"],
        cause=None if action is None else failure["type"],
        action=action,
        since=failure["at"],
    )
