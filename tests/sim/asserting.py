"""Assertions about simulated scenarios. A failure names each seed, what was wrong and how to replay it."""

from collections.abc import Iterable

import pytest

from sim.cases import KINDS, judged, sweep
from sim.world import Scenario

_SHOWN = 5


def assert_right(kind: str, seeds: Iterable[int]) -> None:
    """Run the scenarios of a kind of `KINDS` and fail with a report of those in which a rule was broken."""
    assert_all_right((f"{kind} {seed}", KINDS[kind](seed), _replay(kind, seed)) for seed in seeds)


def assert_all_right(scenarios: Iterable[tuple[str, Scenario, str]]) -> None:
    """The same for any scenarios, each with its name and the command that replays it."""
    ran, reports = 0, list[str]()
    for name, scenario, replay in scenarios:
        ran += 1
        try:
            wrong = judged(scenario)
        except Exception as error:
            error.add_note(f"in the simulation {name}; replay: {replay}")
            raise
        if wrong:
            reports.append("\n".join([f"{name}:", *(f"  {line}" for line in wrong), f"  replay: {replay}"]))
    assert ran, "no scenario ran"
    if reports:
        more = f"\n… and {len(reports) - _SHOWN} more" if len(reports) > _SHOWN else ""
        pytest.fail(
            f"{len(reports)} of {ran} scenarios broke a rule:\n" + "\n".join(reports[:_SHOWN]) + more,
            pytrace=False,
        )


def assert_sweep_right(of: str, seeds: range, *, pause_s: float | None, stride: int) -> None:
    """The same for the scenarios of a `sweep`, each with the step at which its node was stopped."""
    swept = sweep(seeds, pause_s=pause_s, stride=stride, of=of)
    assert_all_right((_name(of, one), one, _replay_stop(of, one)) for one in swept)


def _name(of: str, scenario: Scenario) -> str:
    (blow,) = scenario.blows
    how = "killed" if blow.pause_s is None else f"paused for {blow.pause_s} s"
    return f"{of}, seed {scenario.seed}, {blow.node} {how} at step {blow.step}"


def _replay_stop(of: str, scenario: Scenario) -> str:
    (blow,) = scenario.blows
    swept = f"sweep(range({scenario.seed}, {scenario.seed + 1}), pause_s={blow.pause_s}, of={of!r})"
    return (
        'cd tests && python -c "from sim.cases import *; '
        f'print(*[judged(s) for s in {swept} if s.blows[0].step == {blow.step}])"'
    )


def _replay(kind: str, seed: int) -> str:
    return f"cd tests && python -m sim --only {kind} --first {seed} --seeds 1"
