"""Runs every mutant until a scenario tells it from the right engine: `python -m sim.kill_mutants`.

A mutant is killed by a scenario that the right engine stands. One that lives must be in EXPLAINED.
"""

import argparse
import logging
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context

from sim.cases import KINDS, judged, sleeper
from sim.mutants import IMPATIENT_MUTANTS, MUTANTS, WIDE_MUTANTS, Patch, broken
from sim.mutants_money import MONEY_MUTANTS
from sim.mutants_rules import FOUND_BY, RULE_MUTANTS
from sim.world import Scenario

ALL: Mapping[str, tuple[Patch, ...]] = {
    **MUTANTS,
    **WIDE_MUTANTS,
    **IMPATIENT_MUTANTS,
    **MONEY_MUTANTS,
    **RULE_MUTANTS,
}
EXPLAINED: Mapping[str, str] = {
    "a cancelation raises no fence": "the version shuts a worker out as well; the fence is a second wall",
    "refunds without a key are not exclusive": "a simulated rail finds a refund by our reference",
    "work under an older lease ends work under a newer one": (
        "its commits are refused and its time to send is over, so the order only waits for a lease to end"
    ),
}
"""Mutants that no scenario can tell from the right engine, and why: at most three."""
CASES = 10_000
EXPLAINED_CASES = 1_000
"""The most cases for a mutant that is explained: they only show whether it still has to be."""
_BROKEN = ("TypeError", "AttributeError", "NameError", "KeyError", "UnboundLocalError")
"""Errors of a mutant that breaks the call instead of the rule, and so proves nothing."""
_DRAWN = {"sleeper": sleeper, **KINDS}
_UNLESS_NAMED = ("sleeper", "mixed", "wide", "impatient", "strange", "healing")


@dataclass(frozen=True, slots=True)
class Killed:
    """By which scenario a mutant was killed, after how many, and for what. `by` is empty if it lives.

    `is_broken`: it was found only because its code cannot run.
    """

    name: str
    by: str
    cases: int
    wrong: str
    took_s: float
    is_broken: bool = False


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--only", default="", metavar="TEXT", help="the mutants whose name has this in it")
    asked.add_argument("--jobs", type=int, default=2, help="how many processes")
    asked.add_argument(
        "--cases", type=int, default=CASES, help="how many scenarios a mutant may live through"
    )
    options = asked.parse_args()
    if unknown := {*FOUND_BY, *EXPLAINED} - ALL.keys():
        asked.error(f"no such mutants: {', '.join(sorted(unknown))}")
    # Those that live through everything take longest.
    names = sorted((name for name in ALL if options.only in name), key=lambda name: name not in EXPLAINED)
    lives: list[str] = []
    broken_code: list[str] = []
    width = max(map(len, names), default=0)
    began = time.perf_counter()
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        most = {name: min(options.cases, EXPLAINED_CASES) for name in EXPLAINED}
        runs = [pool.submit(kill, name, most.get(name, options.cases)) for name in names]
        for run in as_completed(runs):
            killed = run.result()
            if killed.is_broken:
                broken_code.append(killed.name)
            if not killed.by and killed.name not in EXPLAINED:
                lives.append(killed.name)
            how = f"killed by {killed.by}: {killed.wrong[:60]}" if killed.by else "LIVES"
            if killed.is_broken:
                how = f"BROKEN: {killed.wrong[:60]}"
            if not killed.by and killed.name in EXPLAINED:
                how = f"explained: {EXPLAINED[killed.name]}"
            print(f"{killed.name:{width}}  {killed.cases:6}  {killed.took_s:5.0f} s  {how}", flush=True)
    took_s = time.perf_counter() - began
    print(f"{len(names)} mutants in {took_s:.0f} s, {len(lives)} of them live, {len(broken_code)} are broken")
    return 1 if lives or broken_code or len(EXPLAINED) > 3 else 0


def kill(name: str, cases: int) -> Killed:
    """Run scenarios until one goes wrong under the mutant and well under the right engine."""
    # The breakers' own lines would be most of the output.
    logging.disable()
    began = time.perf_counter()
    for number, (title, scenario) in enumerate(_scenarios(name, cases), start=1):
        with broken(*ALL[name]):
            wrong = _wrong(scenario)
        if wrong and not _wrong(scenario):
            is_broken = all(any(error in line for error in _BROKEN) for line in wrong)
            took_s = time.perf_counter() - began
            return Killed(name, title, number, wrong[0], took_s, is_broken)
    return Killed(name, "", cases, "", time.perf_counter() - began)


def _wrong(scenario: Scenario) -> list[str]:
    try:
        return judged(scenario)
    except Exception as error:
        # A broken engine may break the run itself.
        return [f"{type(error).__name__}: {error}"]


def _scenarios(mutant: str, cases: int) -> Iterator[tuple[str, Scenario]]:
    """The kinds that find the mutant in turn, seed by seed."""
    kinds = FOUND_BY.get(mutant, _UNLESS_NAMED)
    for number in range(cases):
        seed, turn = divmod(number, len(kinds))
        yield f"{kinds[turn]} {seed}", _DRAWN[kinds[turn]](seed)


if __name__ == "__main__":
    raise SystemExit(main())
