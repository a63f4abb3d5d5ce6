"""The whole engine in virtual time. The rails' books decide whether anybody paid twice."""

from pathlib import Path

import pytest

from sim.cases import PAUSES_S, judged, mixed, sleeper, sweep
from sim.mutants import MUTANTS, broken
from sim.world import World

_KEPT = Path(__file__).with_name("regressions.txt")
_MIXED = 300
_BOUND = 600


def test_seeds_that_once_failed_stay_well():
    seeds = [int(line.split("#")[0]) for line in _KEPT.read_text().splitlines() if line[:1].isdigit()]

    assert {seed: wrong for seed in seeds if (wrong := judged(mixed(seed)))} == {}


def test_nobody_pays_twice_and_nothing_is_lost_whatever_goes_wrong():
    assert {seed: wrong for seed in range(_MIXED) if (wrong := judged(mixed(seed)))} == {}


def test_who_sleeps_through_a_takeover_takes_no_money_when_it_wakes():
    assert {seed: wrong for seed in range(150) if (wrong := judged(sleeper(seed)))} == {}


@pytest.mark.parametrize("pause_s", [None, *PAUSES_S], ids=["killed", "half", "over", "long after"])
def test_a_node_may_stop_at_any_step(pause_s: float | None):
    for scenario in sweep(range(4), pause_s=pause_s, stride=3):
        assert judged(scenario) == [], scenario


def test_one_seed_is_one_run():
    assert [_trace(11), _trace(12)] == [_trace(11), _trace(12)]


def _trace(seed: int) -> list[str]:

    world = World(mixed(seed))
    world.run()
    return [f"{event.id} {event.type} {event.created_at}" for event in world.ledger.events]


@pytest.mark.parametrize("name", MUTANTS)
def test_an_engine_with_a_broken_rule_is_caught(name: str):
    with broken(*MUTANTS[name]):
        caught = next((seed for seed in range(_BOUND) if judged(sleeper(seed)) or judged(mixed(seed))), None)
    assert caught is not None, f"{name}: not seen in {_BOUND} scenarios"
