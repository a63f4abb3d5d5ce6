"""The faults and requests of one run, drawn from a seed: faults of every rail, and merchants' requests.

The seed fixes the faults of rails, clocks, rows and connections; how they interleave depends on the machine.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from synccash.payments.payer import Network
from synccash.rails import registry

RAILS = tuple(registry.RAILS)
ENDS = {
    "mtn_momo": (
        "PAYER_NOT_FOUND",
        "NOT_ENOUGH_FUNDS",
        "APPROVAL_REJECTED",
        "EXPIRED",
        "COULD_NOT_PERFORM_TRANSACTION",
        "INTERNAL_PROCESSING_ERROR",
        "SERVICE_UNAVAILABLE",
        "SOMETHING_NEW",
    ),
    "paystack": (
        "INSUFFICIENT_FUNDS",
        "DECLINED",
        "TIMED_OUT",
        "LIMIT_REACHED",
        "ABANDONED",
        "SOMETHING_NEW",
    ),
    "hubtel": ("USSD_TIMEOUT", "WRONG_PIN", "SOMETHING_NEW"),
    "pawapay": (
        "PAYMENT_NOT_APPROVED",
        "INSUFFICIENT_BALANCE",
        "PROVIDER_TEMPORARILY_UNAVAILABLE",
        "UNSPECIFIED_FAILURE",
        "SOMETHING_NEW",
    ),
}
"""The rails' own words for an end without money."""
ANSWERS = ("drop", "http_500", "http_503", "http_429", "html_403", "maintenance_200")
PROVES_NOTHING = frozenset({"drop", "http_500", "maintenance_200"})
"""Answers that a rail may give although it has booked; with the others it would lie in its own words."""
CALLBACKS = ("normal", "lost", "duplicate", "early", "late", "forged")
NUMBERS = {Network.MTN: "0241{:06d}", Network.TELECEL: "0201{:06d}", Network.AT: "0271{:06d}"}
TROUBLE_S = 1.2
"""From then on every rail is healthy."""
RECORDS = (
    "other_amount",
    "other_currency",
    "other_reference",
    "not_found_after_found",
    "failed_then_success",
    "callback_failure",
    "reversed",
)
"""Faults of a rail's own records, by the sandbox's names."""
_SHARES: Mapping[str, float] = {
    "other_amount": 0.85,
    "other_currency": 0.65,
    "other_reference": 0.65,
    "not_found_after_found": 0.8,
    "failed_then_success": 0.85,
    "callback_failure": 0.5,
    "reversed": 0.9,
}
"""At how many of the rails each of them is set."""
_NO_REVERSALS = frozenset({"mtn_momo", "pawapay"})
"""Rails without a word for a success that they took back."""
SKEWS_S = (-300.0, -30.0, 30.0, 300.0)
TABLES = ("payments", "refunds", "payouts")


@dataclass(frozen=True, kw_only=True)
class Spell:
    """Standing faults of one rail, from a moment on."""

    at_s: float
    rail: str
    faults: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One order of a merchant. `repeats`: how often it is asked for at once, under one key."""

    at_s: float
    number: str
    amount: int
    pinned: str | None
    expires_in_s: int
    repeats: int
    gives_otp: bool
    refunds: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Partition:
    """From `at_s` on, as soon as it works on an order, the first process does not reach PostgreSQL for
    `leases` times its lease. `is_silent`: its connections stay open and carry nothing, and what it has said
    meanwhile arrives afterwards; otherwise they are cut."""

    at_s: float
    leases: float
    is_silent: bool


@dataclass(frozen=True, kw_only=True)
class Spoiling:
    """From `at_s` on one open row of the table cannot be read: for `lasts_s`, or until the run rests."""

    at_s: float
    table: str
    lasts_s: float | None


@dataclass(frozen=True, kw_only=True)
class Script:
    """One run. `order`: in which order the rails are tried; `kills_at_s`: when the first process dies.

    `skews_s`: how wrong the clock of each process is.
    """

    seed: int
    order: tuple[str, ...]
    spells: tuple[Spell, ...]
    steps: Mapping[str, tuple[Mapping[str, Any], ...]]
    payments: tuple[Asked, ...]
    payouts: tuple[Asked, ...]
    kills_at_s: float | None
    skews_s: tuple[float, float] = (0.0, 0.0)
    partition: Partition | None = None
    spoilings: tuple[Spoiling, ...] = ()


def drawn(seed: int) -> Script:
    """The script of a seed; the same seed always gives the same script."""
    random = Random(seed)
    order = list(RAILS)
    random.shuffle(order)
    sick = [rail for rail in RAILS if random.random() < 0.8]
    strange = Random(f"strange {seed}")
    records = {rail: _records(strange, rail) for rail in RAILS}
    spells = [spell for rail in sick for spell in _spells(random, rail)]
    # A rail that is well otherwise may have strange records all the same.
    spells += [Spell(at_s=0.0, rail=rail, faults=dict(_WELL)) for rail in RAILS if rail not in sick]
    script = Script(
        seed=seed,
        order=tuple(order),
        spells=tuple(replace(spell, faults={**spell.faults, **records[spell.rail]}) for spell in spells),
        steps={rail: tuple(_step(random, rail) for _ in range(random.choice((0, 1, 2, 4)))) for rail in sick},
        payments=tuple(_asked(random, n, refunds=True) for n in range(random.choice((3, 4, 6)))),
        payouts=tuple(_asked(random, 50 + n, refunds=False) for n in range(random.choice((0, 0, 1, 2)))),
        kills_at_s=random.random() * TROUBLE_S if random.random() < 0.25 else None,
    )
    return replace(
        script,
        skews_s=(strange.choice(SKEWS_S), strange.choice(SKEWS_S)) if strange.random() < 0.5 else (0.0, 0.0),
        partition=_partition(strange) if script.kills_at_s is None else None,
        spoilings=tuple(_spoiling(strange) for _ in range(strange.choice((0, 2, 4)))),
    )


def _records(random: Random, rail: str) -> dict[str, Any]:
    """Rates of some of RECORDS, at which most orders of the rail meet them, and what they need to be met."""
    chosen = [name for name in RECORDS if random.random() < _SHARES[name]]
    faults: dict[str, Any] = {
        f"{name}_rate": random.choice((0.7, 1.0))
        for name in chosen
        if name != "reversed" or rail not in _NO_REVERSALS
    }
    if "not_found_after_found_rate" in faults:
        # It occurs between two inquiries about a payer who has not decided.
        faults["approve_after_ms"] = 700
        if "callback_failure_rate" not in faults:
            faults["callbacks"] = "lost"
    return faults | {
        "late_success_after_ms": random.choice((100, 400, 1_000)),
        "reverse_after_ms": random.choice((20, 200, 800)),
    }


def _partition(random: Random) -> Partition | None:
    if random.random() < 0.2:
        return None
    return Partition(
        at_s=random.random() * TROUBLE_S * 0.8,
        leases=1.1 + random.random() * 0.9,
        is_silent=random.random() < 0.5,
    )


def _spoiling(random: Random) -> Spoiling:
    return Spoiling(
        at_s=0.1 + random.random() * TROUBLE_S,
        table=random.choice(("payments", "payments", "refunds", "payouts")),
        lasts_s=random.choice((0.3, 0.3, 1.0, None)),
    )


def _spells(random: Random, rail: str) -> list[Spell]:
    begins = sorted([0.0, *(random.random() * TROUBLE_S for _ in range(random.choice((0, 1, 2))))])
    return [Spell(at_s=at_s, rail=rail, faults=_faults(random)) for at_s in begins]


_WELL: Mapping[str, Any] = {"approve_after_ms": 100}


def _faults(random: Random) -> dict[str, Any]:
    faults: dict[str, Any] = {
        "latency_ms": 0,
        "error_rate": 0.0,
        "drop": None,
        "drop_rate": random.choice((0.3, 0.7, 1.0)),
        "callbacks": random.choice(CALLBACKS),
        "approve_after_ms": random.choice((0, 20, 150, 500)),
        "down": False,
    }
    match random.randrange(7):
        case 0:
            faults["down"] = True
        case 1:
            faults["drop"] = "before_commit"
        case 2:
            faults["drop"] = "after_commit"
        case 3:
            faults["latency_ms"] = random.choice((50, 250, 700))
        case 4:
            faults["error_rate"] = random.choice((0.3, 1.0))
        case _:
            pass
    return faults


def _step(random: Random, rail: str) -> dict[str, Any]:
    if random.random() < 0.25:
        return {"on": "inquiry", "answer": random.choice(ANSWERS)}
    step: dict[str, Any] = {"on": "money"}
    if random.random() < 0.6:
        answer = random.choice(ANSWERS)
        step |= {"answer": answer, "commit": answer in PROVES_NOTHING and random.random() < 0.5}
    if random.random() < 0.3:
        step["end"] = random.choice((*ENDS[rail], "NEVER"))
        if random.random() < 0.3:
            step["then_success_after_ms"] = random.choice((50, 400))
    if random.random() < 0.3:
        step["visible_after_ms"] = random.choice((100, 400))
    if random.random() < 0.3:
        step["latency_ms"] = random.choice((100, 600, 800))
    return step


def _asked(random: Random, number: int, *, refunds: bool) -> Asked:
    network = random.choice((Network.MTN, Network.MTN, Network.MTN, Network.TELECEL, Network.AT))
    amount = random.randrange(1_000, 9_000)
    pinned = random.choice(RAILS) if random.random() < 0.25 else None
    parts = random.choice(((), (), (amount,), (amount // 3, amount - amount // 3), (amount, amount)))
    return Asked(
        at_s=random.random() * TROUBLE_S * 0.8,
        number=NUMBERS[network].format(number),
        amount=amount,
        pinned=None if pinned == "mtn_momo" and network is not Network.MTN else pinned,
        expires_in_s=random.choice((2, 60, 60, 60)),
        repeats=random.choice((1, 1, 3)),
        gives_otp=random.random() < 0.8,
        refunds=parts if refunds else (),
    )
