"""Run shorter, with other loads, or with chosen contenders; or record flame graphs."""

import argparse
from pathlib import Path

from bench.payments import CALLERS, FROZEN, PER_S, ROUNDS, SECONDS, WARM_UP_S, Options, measure
from bench.payments.attribution import attribute
from bench.payments.contenders import CONTENDERS, SERVICE
from bench.payments.database_counters import FLUSH_S
from bench.payments.flame_graphs import record
from bench.payments.growth import measure_growth
from bench.payments.windows import Timing
from bench.report import Report

OUT = Path(__file__).parent.parent / "out"


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(one) for one in text.split(",") if one)


def main() -> int:
    """Do what the command line says; return the exit code."""
    asked = argparse.ArgumentParser(prog="python -m bench.payments", description=__doc__)
    asked.add_argument("--rounds", type=int, default=ROUNDS)
    asked.add_argument("--seconds", type=float, default=SECONDS, help="length of a window")
    asked.add_argument(
        "--warm-up", type=float, default=WARM_UP_S, help="seconds of load before the first window"
    )
    asked.add_argument(
        "--flush", type=float, default=FLUSH_S, help="seconds until PostgreSQL's counts are complete"
    )
    asked.add_argument("--callers", default=",".join(map(str, CALLERS)), help="closed loads")
    asked.add_argument("--per-s", default=",".join(f"{one:g}" for one in PER_S), help="open loads")
    asked.add_argument(
        "--contenders",
        help=f"of {', '.join(CONTENDERS)}; default: all, but the service alone beside those that are added",
    )
    asked.add_argument("--preload", type=int, default=0, help="add the service with so many stored payments")
    asked.add_argument(
        "--processes", type=int, default=1, help="add the service with so many API and worker processes"
    )
    asked.add_argument("--pgbouncer", action="store_true", help="add the service behind PgBouncer")
    asked.add_argument(
        "--payments",
        type=int,
        default=0,
        help="make so many payments, print memory and tables as they grow, and measure nothing else",
    )
    asked.add_argument(
        "--frozen-floor", type=Path, help=f"program of an earlier floor; default: {FROZEN} in the environment"
    )
    asked.add_argument("--out", type=Path, default=OUT, help="folder for numbers and plots")
    asked.add_argument(
        "--flame-graphs",
        action="store_true",
        help="record the API and the worker with py-spy under the largest closed load, and measure nothing",
    )
    asked.add_argument(
        "--parts",
        action="store_true",
        help="print the CPU of a payment by part of the code under the smallest closed load, by py-spy",
    )
    given = asked.parse_args()
    callers = tuple(int(one) for one in _numbers(given.callers))
    if given.flame_graphs:
        try:
            print(*record(given.out, max(callers), given.seconds), sep="\n")
        except RuntimeError as error:
            asked.exit(2, f"No flame graphs: {error}\n")
        return 0
    report = Report("payments", given.out)
    if given.parts:
        try:
            attribute(report, min(callers), given.seconds)
        except RuntimeError as error:
            asked.exit(2, f"No parts: {error}\n")
        return 0
    if given.payments:
        measure_growth(report, given.payments)
        report.save()
        return 0
    is_compared = given.preload or given.processes > 1 or given.pgbouncer
    chosen = given.contenders or ",".join([SERVICE] if is_compared else CONTENDERS)
    options = Options(
        rounds=given.rounds,
        timing=Timing(given.seconds, given.warm_up, given.flush),
        callers=callers,
        per_s=_numbers(given.per_s),
        contenders=tuple(chosen.split(",")),
        preload=given.preload,
        processes=given.processes,
        pgbouncer=given.pgbouncer,
        **({} if given.frozen_floor is None else {"frozen_floor": given.frozen_floor}),
    )
    valid = measure(report, options)
    report.save()
    return 0 if valid else 1


if __name__ == "__main__":
    raise SystemExit(main())
