"""Runs many seeds of one kind of scenario: the piece of work of one process of a deeper run."""

import itertools
import logging
from collections import Counter
from collections.abc import Iterator

from sim.cases import KINDS, PAUSES_S, SWEPT, run, sweep
from sim.world import Scenario

Part = tuple[str, range]
"""The name of a kind, and its seeds."""


def judged_part(part: Part) -> tuple[int, Counter[str], list[str]]:
    """Run some seeds of one kind: how many scenarios, which faults they met, and a line for each bad one."""
    # The breakers' own lines would be most of the output.
    logging.disable()
    name, seeds = part
    ran, occurrences, lines = 0, Counter[str](), list[str]()
    for title, scenario in _scenarios(name, seeds):
        judged = run(scenario)
        ran += 1
        occurrences += judged.occurrences
        if judged.wrong:
            lines.append(f"{title}: {'; '.join(judged.wrong)}")
    return ran, occurrences, lines


def _scenarios(name: str, seeds: range) -> Iterator[tuple[str, Scenario]]:
    if name != "swept":
        yield from ((f"{name} {seed}", KINDS[name](seed)) for seed in seeds)
        return
    for of, pause_s in itertools.product(SWEPT, (None, *PAUSES_S)):
        yield from ((str(scenario), scenario) for scenario in sweep(seeds, pause_s=pause_s, of=of))
