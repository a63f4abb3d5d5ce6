"""Troubles of rails for the operator's health view, from the state of their breakers. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from synccash.payments.causes import Cause, CauseCode

_RECENT = timedelta(seconds=60)
"""A failure that is older is over, unless its breaker still refuses calls: an idle rail is not in trouble."""
_FAILING_SHARE = 0.2
_FAILURES_MIN = 3

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


_RESTORE = "No request is accepted until it works. See PostgreSQL is unavailable in docs/operating.md."
_DATABASE: Mapping[str, tuple[str, str]] = {
    "away": (
        "PostgreSQL accepts no connection, or ended it.",
        f"Check that the server runs, and the network to it; start it or fail over. {_RESTORE}",
    ),
    "silent": (
        "PostgreSQL hangs: it holds connections and does not answer within 2 s.",
        "Check the server's host: its disk, its load, and whether its processes are stopped (state T in "
        f"`ps`; `kill -CONT` lets them go on). If it stays silent, fail over. {_RESTORE}",
    ),
    "read_only": (
        "PostgreSQL answers and takes no writes: it is a standby, or writes are switched off.",
        "Promote it, or let database_url name the host that takes writes, or reset "
        f"default_transaction_read_only. {_RESTORE}",
    ),
}


def database_trouble(state: str) -> Trouble | None:
    """Return the trouble of PostgreSQL with what to do about it; None when it works."""
    if state == "ok":
        return None
    happened, action = _DATABASE[state]
    return trouble("postgresql", state, f"{happened} {action}", action=action)


_ALONE = (
    "Payments go on meanwhile: each process counts limits alone, and workers poll. Nothing has to be "
    "restored. See Valkey is unavailable in docs/operating.md."
)
_VALKEY: Mapping[str, tuple[str, str]] = {
    "away": (
        "Valkey accepts no connection, or ended it.",
        f"Check that the server runs, and the network to it, and start it. {_ALONE}",
    ),
    "silent": (
        "Valkey hangs: it does not answer in time.",
        "Check the server's host: its load, its memory (swapping), and whether the process is stopped (state "
        "T in `ps`; `kill -CONT` lets it go on). A slow command (`valkey-cli SLOWLOG GET`), or a firewall "
        f"that drops packets, looks the same. {_ALONE}",
    ),
    "refused": (
        "Valkey refuses the user, the password or the commands of this service.",
        f"`synccash doctor` shows what it says; correct SYNCCASH_VALKEY_URL, or the user's rights. {_ALONE}",
    ),
    "loading": (
        "Valkey has started and still reads its data from disk.",
        f"Wait; no restart is needed. {_ALONE}",
    ),
}


def valkey_trouble(state: str) -> Trouble | None:
    """Return the trouble of Valkey with what to do about it; None when it works."""
    if state == "ok":
        return None
    happened, action = _VALKEY[state]
    return trouble("valkey", state, f"{happened} {action}", action=action)


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
