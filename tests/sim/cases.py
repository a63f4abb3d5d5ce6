"""Which scenarios are run: swept ones that strike at every step, and mixed ones drawn from a seed."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import inf
from random import Random

from sim.book import Faults
from sim.judge import verdict
from sim.world import HORIZON_S, SETTINGS, Blow, Partition, Scenario, Unreadable, World
from synccash.payments.inquiry_schedule import SANDBOX, InquirySchedule

PAUSES_S = tuple(SETTINGS.lease_s * times for times in (0.5, 1.5, 6.0))
HEALED_IN_S = 30.0
WATCH_S = 76 * 3_600.0
SHORT = InquirySchedule(steps=(0.5, 1, 2, 4), tail=((5, 30),), parked=((60, 400), (1_000, inf)))
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
    return replace(wide(seed), schedule=SHORT)


def outgoing(seed: int) -> Scenario:
    """Whatever `wide` has, with payouts, rails whose float runs low, and a fraud service and people before
    anything is sent."""
    random, before = Random(f"outgoing {seed}"), wide(seed)
    return replace(
        before,
        rails=tuple(replace(faults, float_low=random.choice((0.0, 0.5, 0.9))) for faults in before.rails),
        payments=random.choice((0, 1)),
        payouts=random.choice((1, 2)),
        is_screened=random.random() < 0.7,
    )


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
        assert verdict(world) == [], f"{of}, seed {seed} is wrong without any stop"
        for step in range(1 + seed % stride, world.steps_of("node_0") + 1, stride):
            yield replace(calm, blows=(Blow(node="node_0", step=step, pause_s=pause_s),))


def _at_rails(**rates: float) -> Callable[[Scenario, Random], Scenario]:
    """Each rail has each of these faults at the rate given, or not at all."""

    def add(before: Scenario, random: Random) -> Scenario:
        strange = random.randrange(len(before.rails))
        rails = (
            replace(faults, **rates) if n == strange or random.random() < 0.5 else faults
            for n, faults in enumerate(before.rails)
        )
        return replace(before, rails=tuple(rails))

    return add


def _reports(before: Scenario, random: Random) -> Scenario:
    """Callbacks with bodies, true and false ones, at rails that may have no word for failure themselves."""
    told = _at_rails(reports=0.8, false_reports=0.4, slow_payer=0.6)(before, random)
    rails = range(len(before.rails))
    return replace(
        told,
        prompt_window_s=40.0,
        no_failure_word=frozenset(n for n in rails if random.random() < 0.5),
    )


def _skewed(before: Scenario, random: Random) -> Scenario:
    """The clocks of hosts are up to five minutes apart from the database's."""
    skews = tuple(random.choice((-300.0, -30.0, 30.0, 300.0)) for _ in range(before.nodes))
    return replace(before, skews_s=skews)


def _cut_off(before: Scenario, random: Random) -> Scenario:
    """One process does not reach the order store for longer than its lease."""
    from_s = random.random() ** 2 * 12
    until_s = from_s + SETTINGS.lease_s * (1.2 + random.random() * 5)
    return replace(before, partitions=(Partition(node="node_0", from_s=from_s, until_s=until_s),))


def _unreadable(before: Scenario, random: Random) -> Scenario:
    """One row cannot be read, for a while or for ever; there is another order beside it."""
    from_s = 0.5 + random.random() * 4
    until_s = random.choice((from_s + 60 * random.random(), HORIZON_S))
    row = Unreadable(number=random.randrange(3), from_s=from_s, until_s=until_s)
    return replace(before, payments=before.payments + 1, unreadable=(row,))


def _late_unsaid(before: Scenario, random: Random) -> Scenario:
    """Rails go back on their word and call nobody: the run goes on past the last recheck."""
    rails = tuple(replace(faults, fails=0.6, late_unsaid=0.7) for faults in before.rails)
    return replace(before, rails=rails, watch_s=WATCH_S)


STRANGE: Mapping[str, Callable[[Scenario, Random], Scenario]] = {
    "other_amount": _at_rails(other_amount=0.4),
    "other_currency": _at_rails(other_currency=0.4),
    "other_reference": _at_rails(other_reference=0.3),
    "forgotten": _at_rails(forgotten=0.6, slow_payer=0.6),
    "reversed": _at_rails(reverses=0.5),
    "late_unsaid": _late_unsaid,
    "reports": _reports,
    "skew": _skewed,
    "partition": _cut_off,
    "unreadable": _unreadable,
}
"""Each adds one fault to a scenario, at a rate at which every other run or so meets it."""


def _acts_late(before: Scenario, random: Random) -> Scenario:
    """Money comes late and of another amount, while payers still type, merchants still cancel, and the other
    rails are too busy or ask for a password."""
    late = replace(
        before.rails[0], lost_request=0.0, refused_later=0.0, fails=0.7, late_success=0.9, other_amount=0.5
    )
    others = (
        replace(
            faults, refused_later=random.choice((0.0, 0.9)), fails=0.4, late_success=0.7, asks_password=0.6
        )
        for faults in before.rails[1:] or before.rails
    )
    rails = (late, *others)
    return replace(
        before,
        rails=rails,
        payments=max(1, before.payments),
        expires_in_s=random.choice((60, 300)),
        passwords=random.random() < 0.5,
        late_passwords=True,
        cancels=random.random() < 0.5,
        cancels_within_s=90.0,
    )


def _hasty(before: Scenario, random: Random) -> Scenario:
    """Merchants cancel what one rail has failed and the others are too busy for, while a worker asks after
    callbacks of what has failed."""
    fails = replace(
        before.rails[0],
        lost_request=0.0,
        refused_later=0.0,
        refused_final=0.0,
        fails=0.9,
        callback_lost=0.0,
        callback_twice=0.9,
        mute_inquiry=0.4,
        slow_payer=0.0,
    )
    busy = tuple(replace(faults, refused_later=0.95) for faults in before.rails[1:])
    cancels_within_s = 5 + 10 * random.random()
    return replace(
        before,
        rails=(fails, *(busy or (Faults(refused_later=0.95),))),
        payments=2,
        cancels=True,
        cancels_within_s=cancels_within_s,
    )


def _nothing_came(before: Scenario, random: Random) -> Scenario:
    """What rails called failed succeeds later, and brings nothing."""
    rails = tuple(replace(faults, fails=0.6, late_success=0.8, no_amount=0.6) for faults in before.rails)
    return replace(before, rails=rails)


def _resolved(before: Scenario, random: Random) -> Scenario:
    """As `acts_late`, and somebody looks into what is under review at the rails and ends it."""
    return replace(_acts_late(before, random), resolves=True)


def _vanished(before: Scenario, random: Random) -> Scenario:
    """Rails take what they are sent, say nothing, and find it only long after the order has expired."""
    rails = tuple(replace(faults, lost_answer=0.9, hidden=0.9, hidden_s=200.0) for faults in before.rails)
    return replace(before, rails=rails, expires_in_s=random.choice((15, 15, 60)))


def _final(before: Scenario, random: Random) -> Scenario:
    """Rails lose requests, and document that what they cannot find will never move money."""
    lost = 0.5 + random.random() / 2
    rails = tuple(
        replace(faults, lost_request=lost, slow_answer=0.3, hidden_s=2.0, down=()) for faults in before.rails
    )
    return replace(before, rails=rails, expires_in_s=15, final_not_found=frozenset(range(len(rails))))


RARER: Mapping[str, Callable[[Scenario, Random], Scenario]] = {
    "refused_locally": _at_rails(refuses_locally=0.5),
    "no_turn": _at_rails(no_turn=0.6),
    "reversal_told": _at_rails(reverses=0.6, reversal_told=1.0),
    "acts_late": _acts_late,
    "hasty": _hasty,
    "vanished": _vanished,
    "final": _final,
    "nothing_came": _nothing_came,
    "resolved": _resolved,
}
"""As STRANGE, but not in `strange`, whose seeds stay what they are."""


def with_fault(name: str) -> Callable[[int], Scenario]:
    """Whatever `wide` has, and this one of STRANGE or RARER."""
    add = {**STRANGE, **RARER}[name]

    def drawn(seed: int) -> Scenario:
        return add(wide(seed), Random(f"{name} {seed}"))

    return drawn


def strange(seed: int) -> Scenario:
    """Whatever `wide` has, and one to three of STRANGE."""
    random, scenario = Random(f"strange {seed}"), wide(seed)
    for name in random.sample(sorted(STRANGE), random.choice((1, 2, 3))):
        scenario = STRANGE[name](scenario, random)
    return scenario


def healing(seed: int) -> Scenario:
    """All rails, or the first of them, answer errors for a while and then are well: whatever was sent
    meanwhile has to end soon, under the ladder of the sandbox."""
    random = Random(seed)
    end = 20 + random.random() * 40
    sick = Faults(errors=((0.0, end),))
    return Scenario(
        seed=seed,
        rails=(sick, *random.choice(((), (sick,), (Faults(),)))),
        payments=random.choice((1, 2)),
        payouts=random.choice((0, 1)),
        expires_in_s=900,
        schedule=SANDBOX,
        settle_s=3.0,
        ends_by_s=end + HEALED_IN_S,
    )


def ailing(seed: int) -> Scenario:
    """A rail answers errors for so long that a reference uses up its sends: a human is told."""
    random = Random(seed)
    sick = Faults(errors=((0.0, 70 + random.random() * 200),))
    return Scenario(seed=seed, rails=(sick,), payouts=random.choice((0, 1)), expires_in_s=900)


def shut(seed: int) -> Scenario:
    """A rail answers one error and then refuses connections for sends: what never left uses up nothing, so
    whatever was sent ends soon after the rail is well."""
    random = Random(seed)
    begin, end = 0.5 + random.random() * 4, 80 + random.random() * 60
    sick = Faults(errors=((0.0, begin),), shut=((begin, end),))
    return Scenario(
        seed=seed,
        rails=(sick,),
        payments=random.choice((1, 2)),
        payouts=random.choice((0, 1)),
        expires_in_s=900,
        schedule=SANDBOX,
        settle_s=3.0,
        ends_by_s=end + HEALED_IN_S,
    )


def unserved(seed: int) -> Scenario:
    """Rails that are well, and connectors that send them nothing of what they are asked to."""
    random = Random(seed)
    rails = tuple(Faults(refuses_locally=random.choice((0.6, 1.0))) for _ in range(random.choice((1, 2))))
    return Scenario(seed=seed, rails=rails, payments=8, payouts=random.choice((0, 4)))


def paced(seed: int) -> Scenario:
    """Rails that are well, and connectors that seldom have a turn for an inquiry."""
    random = Random(seed)
    rails = tuple(Faults(no_turn=random.choice((0.5, 0.8, 0.9))) for _ in range(random.choice((1, 2))))
    return Scenario(seed=seed, rails=rails, payments=4, payouts=random.choice((0, 2)))


KINDS: Mapping[str, Callable[[int], Scenario]] = {
    "mixed": mixed,
    "sleeper": sleeper,
    "wide": wide,
    "impatient": impatient,
    "strange": strange,
    "outgoing": outgoing,
    "healing": healing,
    "ailing": ailing,
    "shut": shut,
    "unserved": unserved,
    "paced": paced,
    **{name: with_fault(name) for name in (*STRANGE, *RARER)},
}
"""What `python -m sim` draws from seeds."""

DRAWN = (
    "mixed",
    "wide",
    "impatient",
    "strange",
    "outgoing",
    "healing",
    "ailing",
    "shut",
    "unserved",
    "paced",
    *RARER,
)
"""What it draws unless told otherwise: `strange` has each of STRANGE in every fifth of its scenarios."""
