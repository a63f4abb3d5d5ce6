"""Real PostgreSQL, the real connectors, the sandbox's rails: random trouble, and the books afterwards."""

from pathlib import Path

import pytest

from drill.judge import verdict
from drill.runs import database, judge_all, play
from drill.script import drawn
from drill.world import world_of
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

    assert (await runs([*kept, *range(_SCRIPTS)])).bad == {}


async def test_an_engine_that_breaks_a_rule_is_caught(runs):
    with broken(*MUTANTS["the reference is not the committed one"]):
        assert (await runs(range(4))).bad != {}


async def test_what_was_sent_after_known_money_is_found_in_the_rows_and_in_the_rails_requests(
    servers, migrated_template, tmp_path
):
    async with (
        database(servers.database_url, migrated_template) as url,
        world_of(drawn(1), url, tmp_path) as world,
    ):
        assert (await play(world))[0] == []
        await world.pool.execute(_MONEY_KNOWN_FROM_THE_START)

        found = await verdict(world)

    assert any(line.startswith("late:") and " was sent " in line for line in found)
    assert any(line.startswith("late:") and " had " in line for line in found)


_MONEY_KNOWN_FROM_THE_START = """
    INSERT INTO timeline (order_id, position, at, kind, data) OVERRIDING SYSTEM VALUE
    SELECT id, 0, created_at - interval '1 hour', 'contradiction', '{}' FROM payments
"""
