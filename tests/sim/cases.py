"""Which scenarios are run: swept ones that strike at every step, and mixed ones drawn from a seed."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import inf
from random import Random

from sim.judge import verdict
from sim.rails import Faults
from sim.world import SETTINGS, Blow, Scenario, World
from synccash.payments.ladder import Ladder

PAUSES_S = tuple(SETTINGS.lease_s * times for times in (0.5, 1.5, 6.0))
SHORT = Ladder(steps=(0.5, 1, 2, 4), tail=((5, 30),), parked=((60, 400), (1_000, inf)))
_SILENT = Faults(lost_request=0.25, lost_answer=0.25, hidden=0.4, fails=0.2, callback_lost=0.5, until_s=60.0)


@dataclass(frozen=True, slots=True)
class Judged:
    """What was wrong in a run, and how often each fault met live traffic."""

    wrong: list[str]
    occurrences: Counter[str]


def run(scenario: Scenario) -> Judged:
    """Run a scenario and judge it."""
    world = World(scenario)
    world.run()
    return Judged(verdict(world), world.occurrences)


def judged(scenario: Scenario) -> list[str]:
    """Run a scenario and say what was wrong with it."""
    return run(scenario).wrong


def mixed(seed: int) -> Scenario:
    """Everything that may go wrong, in a mixture that the seed decides."""
    random = Random(seed)
    rails = range(random.choice((1, 2, 2, 3)))
    blows = tuple(
        Blow(
            node=f"node_{random.randrange(2)}",
            step=int(1 + random.random() ** 2 * 150),
            pause_s=random.choice((None, *PAUSES_S)),
        )
        for _ in range(random.choice((0, 1, 1, 2)))
    )
    return Scenario(
        seed=seed,
        rails=tuple(_faults(random) for _ in rails),
        no_dedup=frozenset(n for n in rails if random.random() < 0.2),
        no_failure_word=frozenset(n for n in rails if random.random() < 0.15),
        nodes=random.choice((2, 2, 3)),
        payments=random.choice((1, 1, 2)),
        expires_in_s=random.choice((15, 60, 60)),
        refunds=random.random() < 0.3,
        cancels=random.random() < 0.2,
        store_faults=random.choice((0.0, 0.0, 0.05)),
        blows=blows,
    )


def wide(seed: int) -> Scenario:
    """Whatever `mixed` has, with payouts, passwords, refunds, and rails that go back on their word."""
    random = Random(seed)
    before = mixed(seed)
    asks, comes_late = random.random() < 0.5, random.random() < 0.5
    rails = tuple(
        replace(
            faults,
            fails=max(faults.fails, 0.3) if comes_late else faults.fails,
            late_success=0.7 if comes_late else 0.0,
            asks_password=0.6 if asks else 0.0,
        )
        for faults in before.rails
    )
    payouts = random.choice((0, 1, 1, 2))
    return replace(
        before,
        rails=rails,
        payments=random.choice((0, 1, 1)) if payouts else 1,
        payouts=payouts,
        passwords=asks,
        refunds=random.random() < 0.5,
    )


def impatient(seed: int) -> Scenario:
    """Whatever `wide` has, under a ladder that ends long before the trouble does."""
    return replace(wide(seed), ladder=SHORT)


def sleeper(seed: int) -> Scenario:
    """A node falls asleep round its first send and wakes when another has long dealt with the payment, at
    rails that are too busy meanwhile and take everything again when it wakes."""
    random = Random(seed)
    busy = Faults(refused_later=0.5 + random.random() / 2, until_s=35.0)
    return Scenario(
        seed=seed,
        rails=(busy, Faults()),
        blows=(Blow(node="node_0", step=random.randrange(1, 25), pause_s=PAUSES_S[-1]),),
    )


def _faults(random: Random) -> Faults:
    def rate(most: float) -> float:
        return random.random() * most if random.random() < 0.5 else 0.0

    begin = random.random() * 20
    down = ((begin, begin + random.random() * 30),) if random.random() < 0.3 else ()
    if random.random() < 0.2:
        down = ((0.0, random.random() * 20), *down)
    return Faults(
        lost_request=rate(0.5),
        lost_answer=rate(0.5),
        slow_answer=rate(0.4),
        refused_later=rate(0.5),
        refused_final=rate(0.2),
        fails=rate(0.3),
        payer_declines=rate(0.2),
        hidden=rate(0.6),
        mute_inquiry=rate(0.5),
        callback_lost=rate(1.0),
        callback_twice=rate(0.5),
        callback_forged=rate(0.5),
        slow_payer=rate(0.5),
        down=down,
    )


SWEPT: Mapping[str, Scenario] = {
    "payment": Scenario(seed=0, rails=(_SILENT, Faults())),
    "refund": Scenario(seed=0, rails=(_SILENT, Faults()), refunds=True),
    "payout": Scenario(seed=0, rails=(_SILENT, Faults()), payments=0, payouts=1),
    "password": Scenario(seed=0, rails=(replace(_SILENT, asks_password=1.0), Faults()), passwords=True),
    "surplus": Scenario(seed=0, rails=(replace(_SILENT, fails=1.0, late_success=1.0), Faults())),
}
"""One of each, to be struck at every step."""


def sweep(seeds: range, *, pause_s: float | None, stride: int = 1, of: str = "payment") -> Iterator[Scenario]:
    """For each seed: the same order, struck before every `stride`-th step of the node that took it.

    The first rail goes down for a while in every other seed, so that takeovers meet fail-overs.
    """
    for seed in seeds:
        first, *others = SWEPT[of].rails
        down = ((1.0, 40.0),) if seed % 2 else ()
        calm = replace(SWEPT[of], seed=seed, rails=(replace(first, down=down), *others))
        world = World(calm)
        world.run()
        assert verdict(world) == [], calm
        for step in range(1 + seed % stride, world.steps_of("node_0") + 1, stride):
            yield replace(calm, blows=(Blow(node="node_0", step=step, pause_s=pause_s),))


KINDS: Mapping[str, Callable[[int], Scenario]] = {"mixed": mixed, "wide": wide, "impatient": impatient}
"""What `python -m sim` draws from seeds."""
