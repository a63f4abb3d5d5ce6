"""What a payment costs, beside a floor: the same network calls and commits by bare libraries without logic.

`python -m bench payments`, or `python -m bench.payments --rounds 1 --seconds 4` as a short form.

Each round starts every contender afresh, warms it up, and runs closed loads (callers that wait for each
answer) and open ones (payments at a fixed rate, whose latency counts from the moment each was due). A window
ends when its last payment has ended: the CPU of each role and PostgreSQL's counts are divided by the payments
that were accepted. Ratios are those of windows of one round; the tables give medians over the rounds.

The floor is one process, and its rail is a bare sink. A run beside an earlier version of the floor
(`--frozen-floor PATH`, or `FROZEN_FLOOR` in the environment) is invalid when today's floor is more than 15 %
dearer, because a dear floor would flatter the service.

`--preload N` (or `PRELOAD` in the environment), `--processes N` and `--pgbouncer` add contenders that are
compared with the service: with N payments stored from before, with N API and N worker processes, and behind
PgBouncer.
"""

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from bench.payments.contenders import (
    CONTENDERS,
    FLOOR,
    PGBOUNCER,
    SERVICE,
    Target,
    missing_pgbouncer,
    pgbouncer_contender,
    processes_contender,
)
from bench.payments.database_counters import FLUSH_S
from bench.payments.frozen_floor import FrozenFigures, run_frozen_floor
from bench.payments.load import Load
from bench.payments.tables import (
    DEARER_MOST,
    Results,
    compare_with_frozen,
    compare_with_service,
    show,
    show_capacity,
)
from bench.payments.windows import Timing, Window, measure_contender
from bench.report import Report

SECONDS, ROUNDS, WARM_UP_S = 12.0, 5, 4.0
CALLERS, PER_S = (16, 64), (67.0, 100.0, 133.0)
FROZEN, PRELOAD = "FROZEN_FLOOR", "PRELOAD"


@dataclass(frozen=True, slots=True)
class _Start:
    run: Callable[[], AbstractContextManager[Target]]
    stored: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How long and with what a run is made. `frozen_floor`: the program of an earlier floor. `preload`,
    `processes` and `pgbouncer` add contenders."""

    rounds: int = ROUNDS
    timing: Timing = field(default_factory=lambda: Timing(SECONDS, WARM_UP_S, FLUSH_S))
    callers: tuple[int, ...] = CALLERS
    per_s: tuple[float, ...] = PER_S
    contenders: tuple[str, ...] = tuple(CONTENDERS)
    preload: int = field(default_factory=lambda: int(os.environ.get(PRELOAD) or 0))
    processes: int = 1
    pgbouncer: bool = False
    frozen_floor: Path | None = field(
        default_factory=lambda: Path(os.environ[FROZEN]) if os.environ.get(FROZEN) else None
    )

    @property
    def loads(self) -> list[Load]:
        return [*(Load(callers=one) for one in self.callers), *(Load(per_s=one) for one in self.per_s)]

    @property
    def starts(self) -> dict[str, _Start]:
        """How each contender is started, and how many payments it has from before."""
        found = {name: _Start(CONTENDERS[name]) for name in self.contenders}
        if self.preload:
            found[f"{self.preload:,} stored"] = _Start(CONTENDERS[SERVICE], self.preload)
        if self.processes > 1:
            name, start = processes_contender(self.processes)
            found[name] = _Start(start)
        if self.pgbouncer and missing_pgbouncer() is None:
            found[PGBOUNCER] = _Start(pgbouncer_contender)
        return found


def run(report: Report) -> bool:
    """What a payment costs the service, PostgreSQL and the others, beside the floor."""
    return measure(report, Options())


def measure(report: Report, options: Options) -> bool:
    """Run all rounds and print the tables; return whether the run is valid."""
    windows: list[Window] = []
    frozen: list[FrozenFigures] = []
    starts = options.starts
    if options.pgbouncer and (reason := missing_pgbouncer()) is not None:
        print(f"{PGBOUNCER} is skipped: {reason}")
    for number in range(options.rounds):
        # Another contender begins each round, so that none always meets the same state of the machine.
        first, names = number % len(starts), list(starts)
        for name in [*names[first:], *names[:first]]:
            began, start = time.monotonic(), starts[name]
            with start.run() as target:
                windows += uvloop.run(
                    measure_contender(
                        name, number, target, options.loads, options.timing, stored=start.stored
                    )
                )
            if name == FLOOR and options.frozen_floor is not None:
                most = max(options.callers)
                frozen += run_frozen_floor(options.frozen_floor, number, options.timing.window_s, most)
            print(f"round {number + 1}: {name}, {time.monotonic() - began:.0f} s", flush=True)
    results = Results(windows)
    title = f"{options.rounds} rounds of {options.timing.window_s:g} s for each load"
    if options.timing.flush_s < FLUSH_S:
        title += f"; PostgreSQL's counts are incomplete below --flush {FLUSH_S}"
    show(report, results, title)
    compare_with_service(report, results)
    show_capacity(report, results)
    if options.frozen_floor is None:
        return True
    valid = compare_with_frozen(report, results, frozen)
    report.add("valid", float(valid), "")
    if not valid:
        print(
            f"\nTHIS RUN IS INVALID: its floor is more than {DEARER_MOST - 1:.0%} dearer than the frozen "
            "one, or was not measured beside it. Its ratios flatter the service: make the floor cheaper, or "
            "repeat the run on a quiet machine."
        )
    return valid
