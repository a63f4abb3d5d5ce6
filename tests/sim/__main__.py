"""A deeper run than the suite affords, from tests/:
`python -m sim --seeds 20000 [--first 300] [--only wide,impatient] [--jobs 2]`."""

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from sim.cases import DRAWN, KINDS
from sim.runs import Part, judged_part

_CHUNK = 50


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--seeds", type=int, default=10_000, help="how many of each kind")
    asked.add_argument("--first", "--from", type=int, default=0, help="the first seed")
    asked.add_argument("--only", default="", metavar="NAMES", help=f"some of: {', '.join((*KINDS, 'swept'))}")
    asked.add_argument("--swept", type=int, default=20, help="how many seeds are struck at every step")
    asked.add_argument("--jobs", type=int, default=1, help="how many processes")
    options = asked.parse_args()
    names = options.only.split(",") if options.only else [*DRAWN, "swept"]
    if unknown := set(names) - {*KINDS, "swept"}:
        asked.error(f"no such kind of scenario: {', '.join(sorted(unknown))}")
    began, cases, bad = time.perf_counter(), 0, Counter[str]()
    occurrences: Counter[str] = Counter()
    last = options.first + options.seeds
    parts = [
        *_parts([name for name in names if name != "swept"], range(options.first, last), _CHUNK),
        *_parts(["swept"] if "swept" in names else [], range(options.swept), 1),
    ]
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        for (name, _), (ran, seen, lines) in zip(parts, pool.map(judged_part, parts), strict=True):
            cases += ran
            bad[name] += len(lines)
            occurrences += seen
            for line in lines:
                print(line, flush=True)
    took_s = time.perf_counter() - began
    for name in sorted(occurrences):
        print(f"{name}: {occurrences[name]} occurrences on live traffic")
    kinds = ", ".join(f"{name} {bad[name]}" for name in names)
    print(
        f"{cases} scenarios in {took_s:.0f} s ({cases / took_s:.0f}/s), {bad.total()} of them bad ({kinds})"
    )
    return 1 if bad.total() else 0


def _parts(names: list[str], seeds: range, size: int) -> Iterator[Part]:
    for name in names:
        for first in range(seeds.start, seeds.stop, size):
            yield name, range(first, min(first + size, seeds.stop))


if __name__ == "__main__":
    raise SystemExit(main())
