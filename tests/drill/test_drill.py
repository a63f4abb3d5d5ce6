"""Real PostgreSQL, the real connectors and the sandbox's rails under random faults, checked by the books."""

from dataclasses import replace
from pathlib import Path

import pytest

from drill.judge import overlooked, verdict
from drill.occurrences import FAULTS, occurrences
from drill.runs import database, judge_all, play, report
from drill.script import Asked, Script, Spell, drawn
from drill.world import rechecking, world_of
from sim.mutants import MUTANTS, broken

_KEPT = Path(__file__).with_name("regressions.txt")
_SCRIPTS = 5
_AT_ONCE = 8


@pytest.fixture
def runs(servers, migrated_template):
    def run(seeds):
        return judge_all(seeds, servers.database_url, migrated_template, at_once=_AT_ONCE)

    return run


async def test_the_books_of_all_rails_match_the_database_under_any_fault(runs):
    kept = [int(line.split("#")[0]) for line in _KEPT.read_text().splitlines() if line[:1].isdigit()]
    bad = (await runs([*kept, *range(_SCRIPTS)])).bad
    if bad:
        pytest.fail(report(bad, "cd tests && python -m drill --tell --scripts 1 --from"), pytrace=False)


@pytest.mark.slow
async def test_an_engine_that_breaks_a_rule_is_caught(runs):
    with broken(*MUTANTS["the reference is not the committed one"]):
        assert (await runs(range(4))).bad != {}


async def test_the_judge_finds_errors_in_database_rows_and_rail_books(servers, migrated_template, tmp_path):
    async with (
        database(servers.database_url, migrated_template) as url,
        world_of(drawn(1), url, tmp_path) as world,
    ):
        assert (await play(world))[0] == []
        met = await occurrences(world)
        for played in world.sandbox.rails.values():
            played.occurred.update({(name, "a reference of nobody's"): 1 for name in FAULTS})
        world.met_skew.add("a reference of nobody's")
        world.met_partition.add("an order of nobody's")
        assert await occurrences(world) == met

        await world.pool.execute(_MONEY_KNOWN_FROM_THE_START)
        sent_late = await verdict(world)
        await world.pool.execute(_MONEY_FORGOTTEN)
        forgotten = await verdict(world)

    assert any(line.startswith("late:") and " was sent " in line for line in sent_late)
    assert any(line.startswith("late:") and " had " in line for line in sent_late)
    assert {line.partition(":")[0] for line in forgotten} >= {"undead", "silent", "lied"}


async def test_late_money_without_rechecks_is_reported_as_overlooked(servers, migrated_template, tmp_path):
    blind = replace(rechecking(""), recheck_ages_s=(7_200.0,))
    async with (
        database(servers.database_url, migrated_template) as url,
        world_of(_LATE_AND_SILENT, url, tmp_path) as world,
    ):
        world.settings_for = lambda public_url: replace(blind, public_url=public_url)
        await world.run()

        assert [line.partition(":")[0] for line in await overlooked(world)] == ["overlooked"]


_LATE_AND_SILENT = Script(
    seed=0,
    order=("mtn_momo",),
    spells=(
        Spell(
            at_s=0.0,
            rail="mtn_momo",
            faults={
                "approve_after_ms": 50,
                "callbacks": "lost",
                "failed_then_success_rate": 1.0,
                "late_success_after_ms": 1_000,
            },
        ),
    ),
    steps={},
    payments=(
        Asked(
            at_s=0.1,
            number="0241000001",
            amount=2_500,
            pinned=None,
            expires_in_s=60,
            repeats=1,
            gives_otp=True,
        ),
    ),
    payouts=(),
    kills_at_s=None,
)

_MONEY_KNOWN_FROM_THE_START = """
    INSERT INTO timeline (order_id, position, at, kind, data) OVERRIDING SYSTEM VALUE
    SELECT id, 0, created_at - interval '1 hour', 'contradiction', '{}' FROM payments
"""

# As if the engine had failed orders whose money its rails moved, without reporting it.
_MONEY_FORGOTTEN = """
    ALTER TABLE attempts DISABLE TRIGGER USER;
    UPDATE attempts SET state = 'declined', amount_received = 0, refund_reserved = 0, moved_at = NULL;
    DELETE FROM contradictions;
"""
