"""Real PostgreSQL, the real connectors, the sandbox's rails: random trouble, and the books afterwards."""

from pathlib import Path

import pytest

from drill.runs import judge_all
from sim.mutants import MUTANTS, broken

_KEPT = Path(__file__).with_name("regressions.txt")
_SCRIPTS = 12
_AT_ONCE = 8


@pytest.fixture
def runs(servers, migrated_template):
    def run(seeds):
        return judge_all(seeds, servers.database_url, migrated_template, at_once=_AT_ONCE)

    return run


async def test_the_books_of_all_rails_say_what_the_database_says_whatever_goes_wrong(runs):
    kept = [int(line.split("#")[0]) for line in _KEPT.read_text().splitlines() if line[:1].isdigit()]

    assert await runs([*kept, *range(_SCRIPTS)]) == {}


async def test_an_engine_that_breaks_a_rule_is_caught(runs):
    with broken(*MUTANTS["the reference is not the committed one"]):
        assert await runs(range(4)) != {}
