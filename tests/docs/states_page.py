"""Writes docs/states.md from the transition tables: `python tests/docs/states_page.py`."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path

from synccash.payments.attempt import TRANSITIONS, AttemptEvent, AttemptState
from synccash.payments.payment import OutgoingStatus, PaymentStatus
from synccash.payments.transitions import ABSORBED, OrderEvent, Transitions
from synccash.payments.transitions import TRANSITIONS as ORDER_TRANSITIONS

PAGE = Path(__file__).parents[2] / "docs" / "states.md"
HEAD = """\
# States
Generated from `payments/transitions.py` and `payments/attempt.py` by `python tests/docs/states_page.py`;
a test compares.

An event that is not in the table of its object raises `IllegalTransitionError`, and nothing is written. Final
states never change.
"""
ATTEMPT = """
## Attempt
The events are the worst evidence of all sends ({evidence}), the status in the rail's answer ({statuses}), and
what the engine finds ({findings}). A final state ignores the rail's answers.
"""
Edges = Mapping[tuple[str, str], list[str]]


def page() -> str:
    parts = [HEAD]
    for kind, table in ORDER_TRANSITIONS.items():
        statuses = type(next(iter(table))[0])
        parts += [f"\n## {kind.capitalize()}\n", *_order(table, statuses)]
    return "".join([*parts, *_attempt()])


def _order(table: Transitions, statuses: type[PaymentStatus | OutgoingStatus]) -> Iterable[str]:
    edges: Edges = defaultdict(list)
    for (status, event), state in table.items():
        edges[status, state.status].append(event)
    yield from _diagram(edges, statuses, {status for status in statuses if status.is_final})
    yield "\n| event | legal in | leads to | in a final status |\n|---|---|---|---|\n"
    for event in OrderEvent:
        legal = {status: state for (status, one), state in table.items() if one is event}
        if not legal:
            continue
        (leads_to,) = {" / ".join(part for part in state if part is not None) for state in legal.values()}
        ended = "ignored" if event in ABSORBED else "illegal"
        yield f"| `{event}` | {_listed(legal)} | `{leads_to}` | {ended} |\n"


def _attempt() -> Iterable[str]:
    edges: Edges = defaultdict(list)
    kinds: Mapping[str, list[AttemptEvent]] = defaultdict(list)
    for (state, event), after in TRANSITIONS.items():
        edges[state, after].append(event)
        if event not in kinds[type(event).__name__]:
            kinds[type(event).__name__].append(event)
    yield ATTEMPT.format(
        evidence=_listed(kinds["Evidence"]),
        statuses=_listed(kinds["RailStatus"]),
        findings=_listed(kinds["Finding"]),
    )
    yield from _diagram(edges, AttemptState, {state for state in AttemptState if state.is_final})


def _diagram(edges: Edges, states: type[StrEnum], final: Iterable[str]) -> Iterable[str]:
    yield f"```mermaid\nstateDiagram-v2\n    [*] --> {next(iter(states))}\n"
    for (state, after), events in edges.items():
        yield f"    {state} --> {after}: {'<br/>'.join(events)}\n"
    for state in states:
        if state in final:
            yield f"    {state} --> [*]\n"
    yield "```\n"


def _listed(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
