"""A deeper run than the suite affords: `python -m sim --seeds 20000 [--from 300]`, from tests/."""

import argparse
import itertools
import logging
import time

from sim.cases import PAUSES_S, SWEPT, impatient, judged, mixed, sweep, wide


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--seeds", type=int, default=10_000, help="how many, of three kinds each")
    asked.add_argument("--from", dest="first", type=int, default=0, help="the first seed")
    asked.add_argument("--swept", type=int, default=20, help="how many seeds are struck at every step")
    options = asked.parse_args()
    began, cases, bad = time.perf_counter(), 0, 0
    # The breakers' own lines would be most of the output.
    logging.disable()
    for seed in range(options.first, options.first + options.seeds):
        for drawn in (mixed, wide, impatient):
            cases += 1
            if wrong := judged(drawn(seed)):
                bad += 1
                print(f"{drawn.__name__} {seed}: {'; '.join(wrong)}", flush=True)
    for of, pause_s in itertools.product(SWEPT, (None, *PAUSES_S)):
        for scenario in sweep(range(options.swept), pause_s=pause_s, of=of):
            cases += 1
            if wrong := judged(scenario):
                bad += 1
                print(f"{scenario}: {'; '.join(wrong)}", flush=True)
    took_s = time.perf_counter() - began
    print(f"{cases} scenarios in {took_s:.0f} s ({cases / took_s:.0f}/s), {bad} of them bad")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
