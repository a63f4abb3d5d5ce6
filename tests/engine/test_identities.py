"""Ids are ULIDs: they sort by time, and nobody can guess the next one."""

import re
import time

import pytest

from synccash.engine.system import SystemIdentities

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"


def milliseconds_of(ulid: str) -> int:
    number = 0
    for digit in ulid[:10]:
        number = number * 32 + _DIGITS.index(digit)
    return number


def test_an_id_has_its_prefix_the_present_millisecond_and_80_random_bits():
    before = time.time_ns() // 1_000_000
    found = SystemIdentities().new("pay")
    after = time.time_ns() // 1_000_000
    assert re.fullmatch(f"pay_[{_DIGITS}]{{26}}", found)
    assert before <= milliseconds_of(found.removeprefix("pay_")) <= after


def test_ids_of_one_process_sort_by_their_milliseconds(monkeypatch: pytest.MonkeyPatch):
    times = iter([1_700_000_000_000_000_000, 1_700_000_000_001_000_000, 1_700_000_000_032_000_000])
    monkeypatch.setattr(time, "time_ns", lambda: next(times))
    identities = SystemIdentities()
    made = [identities.new("pay") for _ in range(3)]
    assert made == sorted(made)


def test_ids_of_one_millisecond_differ(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)
    identities = SystemIdentities()
    assert len({identities.new("pay") for _ in range(1_000)}) == 1_000
