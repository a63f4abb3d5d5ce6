import ast
from datetime import UTC, datetime
from pathlib import Path

import pytest

import synccash.engine
from synccash.payments.case import Entry
from synccash.payments.merchant_view import PublicReason, merchant_entry_document, public_reasons
from synccash.payments.receipts import Receipt

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NOTE = "suspected mule account of Mallory Ltd; report 2026/118 filed"


def _seen(kind: str, **data: object) -> dict[str, object]:
    document = merchant_entry_document(Entry(at=AT, kind=kind, data=data))
    assert (document.pop("at"), document.pop("kind")) == ("2026-01-02T03:04:05.000Z", kind)
    return document


def _kinds_the_engine_writes() -> set[str]:
    """Every literal first argument of a call of `….entry(…)` in the engine."""
    root = Path(synccash.engine.__file__).parent
    calls = (
        node
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "entry"
    )
    return {
        call.args[0].value
        for call in calls
        if isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str)
    }


@pytest.mark.parametrize("kind", ["approved", "declined", "resolved"])
def test_an_operators_name_and_note_are_private(kind: str):
    assert _seen(kind, by="Ama", reason=NOTE) == {"reasons": ["operator_decision"]}


def test_an_operators_refund_shows_its_amount_and_neither_name_nor_note():
    seen = _seen("refund_created", refund="re_1", amount=100, by="Ama", reason=NOTE)
    assert seen == {"refund": "re_1", "amount": 100, "reasons": ["operator_decision"]}
    assert _seen("refund_created", refund="re_1", amount=100) == {"refund": "re_1", "amount": 100}


@pytest.mark.parametrize("kind", ["risk_assessed", "screened"])
def test_rules_and_the_fraud_services_reasons_become_reasons_of_the_closed_list(kind: str):
    seen = _seen(
        kind,
        outcome="decline",
        reasons=["fraud:score_0.97_ring_44", "payer_blocked", "payer_too_often", "looks_like_a_double"],
        score=0.97,
    )
    assert seen == {
        "outcome": "decline",
        "reasons": ["possible_duplicate", "limit_exceeded", "risk_policy"],
    }


def test_an_unknown_rule_is_risk_policy_and_no_reason_is_no_reason():
    assert public_reasons(["a_rule_of_tomorrow"]) == [PublicReason.RISK_POLICY]
    assert public_reasons([]) == []


def test_an_entry_of_an_unknown_kind_shows_when_and_what_kind_only():
    assert _seen("score_computed", score=0.97, note=NOTE) == {}


PRIVATE = {"approved", "declined", "resolved", "risk_assessed", "screened"}


def test_the_facts_of_every_kind_that_the_engine_writes_are_shown_or_private_on_purpose():
    written = _kinds_the_engine_writes()
    assert {"created", "routed", "sent", "screened"} <= written
    computed = {receipt.value for receipt in Receipt} | {"approved", "resolved"}
    hidden = {kind for kind in written | computed if _seen(kind, amount=1) != {"amount": 1}}
    assert hidden == PRIVATE


@pytest.mark.parametrize("kind", ["risk_assessed", "screened"])
@pytest.mark.parametrize(
    ("reasons", "shown"),
    [
        (None, []),
        ("payer_too_often", ["limit_exceeded"]),
        ([{"code": "payer_too_often", "note": NOTE}], ["risk_policy"]),
        ([["payer_too_often"], None, 7], ["risk_policy"]),
        ({"payer_too_often": NOTE}, ["risk_policy"]),
        (7, ["risk_policy"]),
    ],
)
def test_reasons_of_another_shape_are_readable_and_private(kind: str, reasons: object, shown: list[str]):
    assert _seen(kind, outcome="review", reasons=reasons) == {"outcome": "review", "reasons": shown}
