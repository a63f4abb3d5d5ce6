from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from synccash.payments.reconciliation import (
    Direction,
    Finding,
    OwnMovement,
    Statement,
    StatementLine,
    Verdict,
)

IN, OUT = Direction.IN, Direction.OUT


def movement(
    reference: str = "a", *, amount: int = 100, provider_id: str | None = None, succeeded: bool = True
) -> OwnMovement:
    return OwnMovement(f"att_{reference}", IN, amount, reference, provider_id, succeeded)


def line(
    number: int,
    reference: str | None = "a",
    *,
    amount: int = 100,
    provider_id: str | None = None,
    direction: Direction = IN,
) -> StatementLine:
    return StatementLine(number, direction, amount, reference, provider_id)


def compared(lines: list[StatementLine], movements: list[OwnMovement]) -> list[Finding]:
    statement = Statement(lines)
    findings = [finding for own in movements for finding in statement.compare(own)]
    return [*findings, *statement.surplus()]


def verdicts(lines: list[StatementLine], movements: list[OwnMovement]) -> list[Verdict]:
    return [finding.verdict for finding in compared(lines, movements)]


def test_a_line_of_the_same_reference_and_amount_matches() -> None:
    assert verdicts([line(1)], [movement()]) == [Verdict.MATCHED]


def test_a_success_without_a_statement_line_is_missing() -> None:
    assert verdicts([], [movement()]) == [Verdict.MISSING]


def test_a_failure_without_a_statement_line_is_no_finding() -> None:
    assert verdicts([], [movement(succeeded=False)]) == []


def test_money_moved_for_an_attempt_that_did_not_succeed_is_a_finding() -> None:
    assert verdicts([line(1)], [movement(succeeded=False)]) == [Verdict.NOT_SUCCEEDED]


def test_the_opposite_direction_is_another_movement() -> None:
    assert verdicts([line(1, direction=OUT)], [movement()]) == [Verdict.MISSING, Verdict.SURPLUS]


def test_of_two_lines_the_one_that_agrees_matches_and_the_other_is_double() -> None:
    found = compared([line(1, amount=90), line(2)], [movement()])
    assert [(each.verdict, each.line and each.line.number) for each in found] == [
        (Verdict.MATCHED, 2),
        (Verdict.DOUBLE, 1),
    ]


def test_another_amount_is_not_a_match() -> None:
    assert verdicts([line(1, amount=90)], [movement()]) == [Verdict.AMOUNT_DIFFERS]


def test_a_line_without_reference_is_found_by_the_providers_id() -> None:
    assert verdicts([line(1, None, provider_id="p")], [movement(provider_id="p")]) == [Verdict.MATCHED]


def test_the_providers_id_does_not_take_a_line_that_names_another_attempt() -> None:
    found = compared([line(1, "b", provider_id="p")], [movement("a", provider_id="p"), movement("b")])
    assert [(each.verdict, each.movement and each.movement.reference) for each in found] == [
        (Verdict.MISSING, "a"),
        (Verdict.MATCHED, "b"),
    ]


_NAMES = st.sampled_from("abcde")
_AMOUNTS = st.integers(1, 3)
_LINES = st.lists(
    st.tuples(st.none() | _NAMES, st.none() | _NAMES, _AMOUNTS, st.sampled_from(Direction)), max_size=12
).map(
    lambda rows: [
        StatementLine(number, direction, amount, reference, provider_id)
        for number, (reference, provider_id, amount, direction) in enumerate(rows, 1)
    ]
)
# References are unique among our attempts, and so are the ids that a rail gives.
_MOVEMENTS = st.lists(
    st.tuples(_NAMES, _AMOUNTS, st.booleans(), st.booleans(), st.sampled_from(Direction)),
    max_size=5,
    unique_by=lambda row: row[0],
).map(
    lambda rows: [
        OwnMovement(f"att_{name}", direction, amount, name, name if identified else None, succeeded)
        for name, amount, identified, succeeded, direction in rows
    ]
)


@given(lines=_LINES, movements=_MOVEMENTS)
def test_every_line_is_reported_exactly_once(
    lines: list[StatementLine], movements: list[OwnMovement]
) -> None:
    reported = Counter(each.line.number for each in compared(lines, movements) if each.line)
    assert reported == Counter(each.number for each in lines)


@given(lines=_LINES, movements=_MOVEMENTS)
def test_every_success_is_judged_exactly_once(
    lines: list[StatementLine], movements: list[OwnMovement]
) -> None:
    judged = Counter(
        each.movement.attempt_id
        for each in compared(lines, movements)
        if each.movement and each.movement.succeeded and each.verdict is not Verdict.DOUBLE
    )
    assert judged == Counter(own.attempt_id for own in movements if own.succeeded)


@given(lines=_LINES, movements=_MOVEMENTS)
def test_the_order_of_our_pages_changes_nothing(
    lines: list[StatementLine], movements: list[OwnMovement]
) -> None:
    assert set(compared(lines, movements)) == set(compared(lines, movements[::-1]))
