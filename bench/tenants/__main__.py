"""Run chosen attacks, or shorter or longer than `make bench` does."""

import argparse
from pathlib import Path

from bench.report import Report
from bench.tenants import PER_S, ROUNDS, SECONDS, SHARE_OF_EACH, measure
from bench.tenants.attacks import ATTACKS
from bench.tenants.windows import ALL

if __name__ == "__main__":
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--seconds", type=float, default=SECONDS, help="length of a window")
    asked.add_argument("--rounds", type=int, default=ROUNDS)
    asked.add_argument("--per-s", type=float, default=PER_S, help="the victim's payments in a second")
    asked.add_argument(
        "--share", type=float, default=SHARE_OF_EACH, help="of each attack's rate, when all go on at once"
    )
    asked.add_argument(
        "--attacks", default=",".join([*ATTACKS, ALL]), help=f"of {', '.join([*ATTACKS, ALL])}"
    )
    given = asked.parse_args()
    report = Report("tenants", Path(__file__).parent.parent / "out")
    met = measure(
        report,
        given.attacks.split(","),
        seconds=given.seconds,
        rounds=given.rounds,
        per_s=given.per_s,
        share=given.share,
    )
    report.save()
    raise SystemExit(0 if met else 1)
