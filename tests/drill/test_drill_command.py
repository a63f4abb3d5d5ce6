"""`synccash drill`: what its audit calls broken, and one short drill with real processes."""

import pytest

from synccash.drill.audit import audited
from synccash.drill.command import run
from synccash.drill.late_sends import TimelineEntry
from synccash.drill.records import AttemptRecord, OrderRecord
from synccash.drill.trouble import RAILS
from synccash.rails.registry import _SET_UPS
from synccash.sandbox_accounts import ACCOUNTS


def attempt(reference, state="succeeded"):
    return AttemptRecord(f"att_{reference}", reference, "mtn_momo", state)


def order(name, status, *attempts, kind="payment", rail="mtn_momo", amount=2500, **given):
    rows = tuple(a if isinstance(a, AttemptRecord) else attempt(a) for a in attempts)
    return OrderRecord(id=name, kind=kind, status=status, amount=amount, rail=rail, attempts=rows, **given)


def refund(name, status, reference, *, debit, amount=2500):
    return order(
        name, status, reference, kind="refund", amount=amount, payment_id="pay_1", debit_id=f"att_{debit}"
    )


def book(*debits, credited=()):
    def entries(given):
        return [
            {"reference": r, "amount": a} for r, a in ((e, 2500) if isinstance(e, str) else e for e in given)
        ]

    return {"debits": entries(debits), "credits": entries(credited)}


def test_one_debit_for_each_payment_that_succeeded_is_clean():
    found = audited(
        {"order-1": "pay_1", "order-2": "pay_2"},
        [order("pay_1", "succeeded", attempt("aa1", "declined"), "bb2"), order("pay_2", "failed", "cc3")],
        [book("bb-2"), book()],
    )

    assert found.clean
    assert (found.debits, found.parked) == (1, ())


def test_debits_at_two_rails_are_a_duplicate():
    payment = order("pay_1", "succeeded", attempt("aa1", "not_sent"), "bb2")

    assert audited({}, [payment], [book("aa1"), book("bb2")]).duplicates == ("pay_1",)


@pytest.mark.parametrize(
    ("returned", "clean"), [(2500, True), (2400, False), (2600, False)], ids=["all", "too little", "too much"]
)
def test_a_second_debit_after_a_reported_failure_has_to_go_back_to_the_pesewa(returned, clean):
    payment = order("pay_1", "succeeded", attempt("aa1", "declined"), "bb2", contradicted=True)
    back = refund("re_1", "succeeded", "cc3", debit="aa1", amount=returned)

    found = audited({}, [payment, back], [book("aa1", "bb2", credited=[("cc3", returned)])])

    assert found.clean is clean
    assert found.duplicates == (() if clean else ("pay_1",))


def test_a_second_debit_that_was_called_not_sent_is_a_duplicate_even_when_it_went_back():
    payment = order("pay_1", "succeeded", attempt("aa1", "not_sent"), "bb2")
    back = refund("re_1", "succeeded", "cc3", debit="aa1")

    assert audited({}, [payment, back], [book("aa1", "bb2", credited=["cc3"])]).duplicates == ("pay_1",)


def test_refunds_of_one_debit_may_not_exceed_it():
    parts = [refund(f"re_{n}", "succeeded", f"cc{n}", debit="aa1", amount=1300) for n in range(2)]
    paid = order("pay_1", "succeeded", "aa1")

    found = audited({}, [paid, *parts], [book("aa1", credited=[("cc0", 1300), ("cc1", 1300)])])

    assert found.duplicates == ("pay_1",)


@pytest.mark.parametrize("kind", ["refund", "payout"])
@pytest.mark.parametrize(
    ("status", "credited", "fault"),
    [
        ("succeeded", [2500], None),
        ("succeeded", [2500, 2500], "duplicates"),
        ("succeeded", [], "lost"),
        ("succeeded", [2400], "lost"),
        ("failed", [2500], "lost"),
        ("processing", [], "stuck"),
    ],
)
def test_a_refund_and_a_payout_are_held_against_the_credits(kind, status, credited, fault):
    outgoing = order("out_1", status, "aa1", kind=kind)

    found = audited({}, [outgoing], [book(credited=[("aa1", amount) for amount in credited])])

    wrong = {name for name in ("duplicates", "lost", "stuck") if getattr(found, name)}
    assert wrong == ({fault} if fault else set())


def test_what_a_book_and_a_status_disagree_on_is_lost():
    found = audited(
        {"order-9": "pay_9"},
        [order("pay_1", "succeeded", "aa1"), order("pay_2", "failed", "bb2")],
        [book("bb2", "nobodys", credited=["nobodys-credit"])],
    )

    assert set(found.lost) == {"pay_9", "pay_1", "pay_2", "nobodys", "nobodyscredit"}


def test_another_amount_is_lost_unless_somebody_was_told():
    silent = order("pay_1", "succeeded", "aa1")
    told = order("pay_2", "succeeded", "bb2", contradicted=True)

    assert audited({}, [silent, told], [book(("aa1", 2600), ("bb2", 2600))]).lost == ("pay_1",)


def test_only_what_was_not_debited_at_a_rail_that_cannot_tell_may_wait_for_a_human():
    found = audited(
        {},
        [
            order("pay_1", "processing", "aa1", rail="hubtel"),
            order("pay_2", "processing", "bb2", rail="hubtel"),
            order("pay_3", "processing", "cc3"),
        ],
        [book("bb2")],
    )

    assert found.parked == ("pay_1",)
    assert found.stuck == ("pay_2", "pay_3")


@pytest.mark.parametrize("kind", ["payment", "refund", "payout"])
@pytest.mark.parametrize(
    ("changed", "is_stuck"),
    [
        ({}, False),
        ({"is_listed": False}, True),
        ({"contradicted": False}, True),
        ({"status_detail": "awaiting_approval"}, True),
    ],
    ids=["listed", "not listed", "no contradiction", "not under review"],
)
def test_money_of_another_amount_may_wait_for_a_human_only_where_the_list_shows_it(kind, changed, is_stuck):
    given = {"status_detail": "under_review", "contradicted": True, "is_listed": True} | changed
    waiting = order("order_1", "processing", attempt("aa1", "unknown"), kind=kind, **given)
    moved = ("aa1", 2600)

    found = audited({}, [waiting], [book(moved) if kind == "payment" else book(credited=[moved])])

    assert found.stuck == (("order_1",) if is_stuck else ())
    assert found.contradicted == (() if is_stuck else ("order_1",))
    assert found.clean is not is_stuck


@pytest.mark.parametrize(
    ("kind", "data", "is_late"),
    [
        ("sent_again", {}, True),
        ("otp_submitted", {}, True),
        ("routed", {"chosen": "paystack"}, True),
        ("routed", {"chosen": None}, False),
        ("inquired", {"standing": "pending"}, False),
    ],
)
def test_nothing_may_be_sent_after_the_first_contradiction(kind, data, is_late):
    later, known = TimelineEntry(kind, data), TimelineEntry("contradiction", {})
    paid = order("pay_1", "succeeded", "aa1", timeline=(known, later))
    in_time = order("pay_2", "succeeded", "bb2", timeline=(later, known))

    found = audited({}, [paid, in_time], [book("aa1", "bb2")])

    assert found.late_sends == (("pay_1",) if is_late else ())
    assert found.clean is not is_late


def test_every_rail_can_be_troubled():
    assert set(RAILS) == set(ACCOUNTS)
    assert len(RAILS) == len(_SET_UPS)


def test_a_short_drill_with_real_processes_holds(capsys, tmp_path):
    page = tmp_path / "drill.html"

    code = run(payments=40, seed=1, faults="kill,rails", report=page)

    printed = capsys.readouterr().out
    assert code == 0, printed
    assert printed.splitlines()[-1].startswith("drill ok: 40 payments")
    assert "payouts succeeded" in printed
    assert "refunds succeeded" in printed
    assert "drill ok" in page.read_text()
