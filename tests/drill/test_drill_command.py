"""`synccash drill`: what its audit calls broken, and one short drill with real processes."""

from synccash.drill.audit import audited
from synccash.drill.command import run


def payment(name, status, *references, rail="mtn_momo"):
    attempts = [{"reference": reference} for reference in references]
    return {"id": name, "status": status, "rail": rail, "attempts": attempts}


def book(*references):
    return {"debits": [{"reference": reference} for reference in references], "credits": []}


def test_one_debit_for_each_payment_that_succeeded_is_clean():
    found = audited(
        {"order-1": "pay_1", "order-2": "pay_2"},
        [payment("pay_1", "succeeded", "aa-1", "bb-2"), payment("pay_2", "failed", "cc-3")],
        [book("bb2"), book()],
    )

    assert found.clean
    assert (found.debits, found.parked) == (1, ())


def test_debits_at_two_rails_are_a_duplicate():
    found = audited({}, [payment("pay_1", "succeeded", "aa-1", "bb-2")], [book("aa-1"), book("bb-2")])

    assert found.duplicates == ("pay_1",)
    assert not found.clean


def test_what_a_book_and_a_status_disagree_on_is_lost():
    found = audited(
        {"order-9": "pay_9"},
        [payment("pay_1", "succeeded", "aa-1"), payment("pay_2", "failed", "bb-2")],
        [book("bb-2", "nobody's")],
    )

    assert set(found.lost) == {"pay_9", "pay_1", "pay_2", "nobody's"}


def test_only_what_was_not_debited_at_a_rail_that_cannot_tell_may_wait_for_a_human():
    found = audited(
        {},
        [
            payment("pay_1", "processing", "aa-1", rail="hubtel"),
            payment("pay_2", "processing", "bb-2", rail="hubtel"),
            payment("pay_3", "processing", "cc-3"),
        ],
        [book("bb-2")],
    )

    assert found.parked == ("pay_1",)
    assert found.stuck == ("pay_2", "pay_3")


def test_a_short_drill_with_real_processes_holds(capsys, tmp_path):
    page = tmp_path / "drill.html"

    code = run(payments=40, seed=1, faults="kill,rails", report=page)

    printed = capsys.readouterr().out
    assert code == 0, printed
    assert printed.splitlines()[-1].startswith("drill ok: 40 payments")
    assert "drill ok" in page.read_text()
