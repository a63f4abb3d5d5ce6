"""`synccash drill`: the findings of its audit, and one short drill with real processes."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from drill.deployment import Deployment, deployed
from drill.runs import database
from order_store_contract import commit, opened, taken
from payment_samples import NO_FUNDS
from stores.postgres_world import PostgresWorld
from synccash.drill.audit import audit_books
from synccash.drill.command import run
from synccash.drill.late_sends import TimelineEntry
from synccash.drill.rails import RAILS, WITHOUT_DEDUPLICATION
from synccash.drill.records import (
    AttemptRecord,
    OrderRecord,
    bring_rechecks_forward,
    read_orders,
    unfinished_rechecks,
)
from synccash.drill.report import terminal_report
from synccash.drill.run import DrillError, DrillOptions, DrillResult, wait_for_rechecks, wait_until_idle
from synccash.drill.sabotage import force_double_debit
from synccash.drill.trouble import KINDS, RECORDS, missed
from synccash.payments.attempt import AttemptState
from synccash.payments.case import Claim, ReleaseLease
from synccash.payments.payer import Msisdn, Payer
from synccash.payments.payment import PaymentStatus
from synccash.payments.request import PaymentRequest, Tenant
from synccash.rails import registry
from synccash.sandbox import status_faults
from synccash.sandbox.faults import Faults, Script, revised
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.order_store import PostgresOrderStore
from synccash.stores.postgres.pool import connect

HEALED_AT = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


def audited(acknowledged, orders, books, **given):
    return audit_books(acknowledged, orders, {f"rail_{n}": b for n, b in enumerate(books)}, **given)


def attempt(reference, state="succeeded", rail="mtn_momo", operation="collect"):
    return AttemptRecord(f"att_{reference}", reference, rail, state, operation)


def order(name, status, *attempts, kind="payment", rail="mtn_momo", amount=2500, **given):
    rows = tuple(a if isinstance(a, AttemptRecord) else attempt(a) for a in attempts)
    return OrderRecord(id=name, kind=kind, status=status, amount=amount, rail=rail, attempts=rows, **given)


def refund(name, status, reference, *, debit, amount=2500):
    return order(
        name, status, reference, kind="refund", amount=amount, payment_id="pay_1", debit_id=f"att_{debit}"
    )


def book(*debits, credited=(), msisdn="233240000001"):
    def entries(given):
        return [
            {"reference": r, "amount": a, "msisdn": msisdn}
            for r, a in ((e, 2500) if isinstance(e, str) else e for e in given)
        ]

    return {"debits": entries(debits), "credits": entries(credited)}


def test_one_debit_for_each_succeeded_payment_is_clean():
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
def test_a_second_debit_after_a_reported_failure_must_be_refunded_to_the_pesewa(returned, clean):
    payment = order("pay_1", "succeeded", attempt("aa1", "declined"), "bb2", contradicted=True)
    back = refund("re_1", "succeeded", "cc3", debit="aa1", amount=returned)

    found = audited({}, [payment, back], [book("aa1", "bb2", credited=[("cc3", returned)])])

    assert found.clean is clean
    assert found.duplicates == (() if clean else ("pay_1",))


def test_a_second_debit_reported_as_not_sent_is_a_duplicate_even_if_refunded():
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
def test_refunds_and_payouts_are_compared_with_the_credits(kind, status, credited, fault):
    outgoing = order("out_1", status, "aa1", kind=kind)

    found = audited({}, [outgoing], [book(credited=[("aa1", amount) for amount in credited])])

    wrong = {name for name in ("duplicates", "lost", "stuck") if getattr(found, name)}
    assert wrong == ({fault} if fault else set())


def test_an_order_whose_status_contradicts_the_rails_book_is_lost():
    found = audited(
        {"order-9": "pay_9"},
        [order("pay_1", "succeeded", "aa1"), order("pay_2", "failed", "bb2")],
        [book("bb2", "nobodys", credited=["nobodys-credit"])],
    )

    assert set(found.lost) == {"pay_9", "pay_1", "pay_2", "nobodys", "nobodyscredit"}


def test_another_amount_is_lost_unless_it_was_reported():
    silent = order("pay_1", "succeeded", "aa1")
    told = order("pay_2", "succeeded", "bb2", contradicted=True)

    assert audited({}, [silent, told], [book(("aa1", 2600), ("bb2", 2600))]).lost == ("pay_1",)


def test_money_under_an_unknown_reference_is_a_double_debit_of_the_wallet():
    twice = order("pay_1", "succeeded", "aa1", msisdn="233240000001")
    once = order("pay_2", "failed", attempt("bb2", "declined"), msisdn="233240000002")

    found = audited({}, [twice, once], [book("aa1", "unknown1"), book("unknown2", msisdn="233240000002")])

    assert (found.duplicates, found.lost) == (("pay_1",), ("pay_2",))
    assert "wallet 233240000001 was debited 2 times" in found.explanations["pay_1"]
    assert "no row of the database has the reference unknown1" in found.explanations["pay_1"]


def test_credits_under_two_references_are_a_double_credit_of_the_wallet():
    sent = order("po_1", "succeeded", "aa1", kind="payout", msisdn="233240000001")

    assert audited({}, [sent], [book(credited=["aa1", "unknown1"])]).duplicates == ("po_1",)


@pytest.mark.parametrize(
    ("state", "contradicted", "fault"),
    [("declined", True, None), ("declined", False, "duplicates"), ("not_sent", True, "duplicates")],
)
def test_a_payout_reported_failed_but_sent_must_be_a_contradiction(state, contradicted, fault):
    sent = order("po_1", "succeeded", attempt("aa1", state), "bb2", kind="payout", contradicted=contradicted)

    found = audited({}, [sent], [book(credited=["aa1", "bb2"])])

    assert found.contradicted == (() if fault else ("po_1",))
    assert found.clean is (fault is None)


def at_hubtel(name, reference, **given):
    lost = attempt(reference, "unknown", "hubtel")
    return order(name, "processing", lost, rail="hubtel", expires_at=HEALED_AT, **given)


def test_only_undebited_orders_at_a_rail_without_a_definite_answer_may_wait_in_review():
    elsewhere = order("pay_3", "processing", attempt("cc3", "unknown"), expires_at=HEALED_AT)

    found = audited(
        {}, [at_hubtel("pay_1", "aa1"), at_hubtel("pay_2", "bb2"), elsewhere], [book("bb2")], now=HEALED_AT
    )

    assert found.parked == ("pay_1",)
    assert found.stuck == ("pay_2", "pay_3")


@pytest.mark.parametrize(
    ("after_expiry_s", "given", "is_stuck"),
    [
        (-1, {}, False),
        (11, {}, True),
        (11, {"status_detail": "under_review", "is_listed": True}, False),
        (11, {"status_detail": "under_review", "is_listed": False}, True),
        (11, {"status_detail": "outcome_unknown", "is_listed": True}, True),
    ],
    ids=["not expired", "expired", "under review", "under review, not listed", "listed, not under review"],
)
def test_an_order_that_is_never_resent_must_be_under_review_when_it_expires(after_expiry_s, given, is_stuck):
    found = audited(
        {},
        [at_hubtel("pay_1", "aa1", **given)],
        [book()],
        now=HEALED_AT + timedelta(seconds=after_expiry_s),
    )

    assert (found.parked, found.stuck) == ((), ("pay_1",)) if is_stuck else (("pay_1",), ())


def test_a_lost_refund_has_no_expiry_and_is_counted_apart():
    lost = attempt("aa1", "unknown", "paystack", "refund")
    parked = order("re_1", "processing", lost, kind="refund", rail="paystack", payment_id="pay_1")

    found = audited({}, [parked], [book()], now=HEALED_AT)

    assert (found.parked, found.parked_refunds, found.stuck) == ((), ("re_1",), ())


@pytest.mark.parametrize(
    ("created_s", "ended_s", "is_late"),
    [(-20, 30, False), (-20, 31, True), (40, 70, False), (40, 71, True), (-20, -5, False)],
)
def test_an_order_must_end_within_30_s_of_the_last_fault_or_of_its_creation(created_s, ended_s, is_late):
    paid = order(
        "pay_1",
        "succeeded",
        "aa1",
        created_at=HEALED_AT + timedelta(seconds=created_s),
        ended_at=HEALED_AT + timedelta(seconds=ended_s),
    )

    found = audited({}, [paid], [book("aa1")], healed_at=HEALED_AT)

    assert found.overdue == (("pay_1",) if is_late else ())
    assert found.clean is not is_late


def test_an_order_that_ended_late_without_a_rail_is_named_with_its_end():
    late = order(
        "po_1",
        "failed",
        kind="payout",
        rail=None,
        status_detail="expired",
        created_at=HEALED_AT,
        ended_at=HEALED_AT + timedelta(seconds=60),
    )

    found = audited({}, [late], [book()], healed_at=HEALED_AT)

    assert found.explanations["po_1"] == (
        "payout at no rail ended 60.0 s after the last fault: failed, expired"
    )


def test_a_payment_that_the_api_never_accepted_makes_a_drill_unclean():
    found = audited({"drill-1": None}, [], [book()])

    assert (found.unanswered, found.clean) == (("drill-1",), False)


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
def test_money_of_another_amount_may_wait_in_review_only_if_it_is_listed(kind, changed, is_stuck):
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


def test_faults_can_be_injected_at_every_rail():
    assert set(RAILS) == set(registry.RAILS)


def test_the_connectors_say_where_an_order_may_park():
    assert ("hubtel", "collect") in WITHOUT_DEDUPLICATION
    assert ("paystack", "refund") in WITHOUT_DEDUPLICATION
    assert not any(rail in ("mtn_momo", "pawapay") for rail, _ in WITHOUT_DEDUPLICATION)


def test_the_sandbox_counts_each_fault_of_the_records_under_its_name():
    for name, fault in RECORDS.items():
        assert getattr(revised(Faults(), fault.faults), f"{name}_rate") > 0
        assert name in vars(status_faults).values()


ALL_MET = dict.fromkeys(KINDS, 1) | {f"http_500 at {rail}": 1 for rail in RAILS}


@pytest.mark.parametrize("kind", [*(k for k in KINDS if k not in ("records", "http_500"))])
def test_a_fault_that_affected_no_order_is_named(kind):
    assert missed(KINDS, ALL_MET, dict.fromkeys(RECORDS, 1)) == []

    (line,) = missed(KINDS, {**ALL_MET, kind: 0}, dict.fromkeys(RECORDS, 1))

    assert line.startswith(f"{kind}: ")
    assert missed([kind], {}, {}) == [line]


def test_each_record_fault_and_each_rail_outage_must_affect_an_order():
    assert len(missed(["records"], {}, {"other_amount": 3})) == len(RECORDS) - 1
    assert len(missed(["http_500"], {f"http_500 at {RAILS[0]}": 1}, {})) == len(RAILS) - 1


@pytest.mark.parametrize("sabotaged", [None, "pay_1"], ids=["missed", "sabotage not found"])
def test_a_drill_that_proves_nothing_is_reported_as_invalid(sabotaged):
    result = DrillResult(
        findings=audited({}, [], [book()]),
        happened=(),
        occurrences={},
        met={},
        missed=() if sabotaged else ("kill: it never occurred while an order was open",),
        repeats=0,
        refusals=0,
        sabotaged=sabotaged,
    )

    *_, told, last = terminal_report(DrillOptions(payments=1, seed=1, kinds=()), result).splitlines()

    assert last.startswith("drill INVALID: 1 payments")
    assert ("NOT find" in told) if sabotaged else told.startswith("invalid: kill: it never occurred")


async def test_the_audit_names_the_double_debit_of_a_sabotaged_payment(servers, migrated_template, tmp_path):
    async with (
        database(servers.database_url, migrated_template) as url,
        deployed(Deployment, url, tmp_path, order=("mtn_momo",)) as deployment,
    ):
        deployment.processes = [await deployment.process()]

        async def control(method, path, body):
            rail, _, resource = path.partition("/")
            assert resource == "script"
            deployment.sandbox.rails[rail].set_script(msgspec.convert(body or {}, Script))

        async def pay(rail, number):
            asked = PaymentRequest(
                tenant=Tenant("m_drill", livemode=False),
                amount=2500,
                currency="GHS",
                payer=Payer(Msisdn.parse(f"024100000{number}")),
                reference=f"order-{number}",
                rail=rail,
            )
            claim = Claim("m_drill:test:POST /payments", f"order-{number}", b"f" * 32)
            reply = await deployment.processes[0].engine.initiate_payment(asked, claim)
            return msgspec.json.decode(reply.body)["id"]

        payment_id = await force_double_debit(control, deployment.pool, pay)
        await wait_until_idle(deployment.pool, 20)
        books = {"mtn_momo": deployment.sandbox.rails["mtn_momo"].book()}
        found = audit_books({"order-1": payment_id}, await read_orders(deployment.pool), books)

    assert found.duplicates == (payment_id,)
    assert found.explanations[payment_id].startswith(
        "payment of 2500 pesewas, status succeeded; wallet 233241000000 was debited 2 times: "
        "2500 at mtn_momo, 2500 at mtn_momo"
    )
    result = DrillResult(
        findings=found,
        happened=(),
        occurrences={},
        met={},
        missed=(),
        repeats=0,
        refusals=0,
        sabotaged=payment_id,
    )
    printed = terminal_report(DrillOptions(payments=1, seed=1, kinds=()), result)
    assert f"double debit: {payment_id} (payment of 2500 pesewas" in printed
    assert f"sabotage: {payment_id} was debited twice on purpose, and the audit found it" in printed


async def test_rechecks_are_done_when_no_order_is_held_or_due_soon(servers, migrated_template):
    async with database(servers.database_url, migrated_template) as url:
        pool = await connect(url, min_size=1, max_size=2)
        store = PostgresOrderStore(Database(pool))
        world = PostgresWorld(pool, store)
        for number in (1, 2):
            case = await opened(world, number)
            declined = replace(case.attempts[0], state=AttemptState.DECLINED, failure=NO_FUNDS)
            ended = {"status": PaymentStatus.FAILED}
            assert await store.record(commit(case, declined, order=ended, lease=ReleaseLease(900.0)))

        assert await unfinished_rechecks(pool, ["pay_1", "pay_2"]) == []
        assert sorted(await bring_rechecks_forward(pool)) == ["pay_1", "pay_2"]
        assert sorted(await unfinished_rechecks(pool, ["pay_1", "pay_2"])) == ["pay_1", "pay_2"]
        held = await taken(world)
        assert await store.record(commit(held["pay_1"], lease=ReleaseLease(900.0)))
        # A worker still holds the second order.
        await pool.execute("UPDATE payments SET due_at = now() + interval '1 hour' WHERE id = 'pay_2'")
        assert await unfinished_rechecks(pool, ["pay_1", "pay_2"]) == ["pay_2"]
        assert await store.record(commit(held["pay_2"], lease=ReleaseLease(5.0)))
        with pytest.raises(DrillError, match=r"1 of 2 ended orders .* after 0 s: pay_2$"):
            await wait_for_rechecks(pool, ["pay_1", "pay_2"], within_s=0.0)

        await world.skip(5.0)
        [again] = (await taken(world)).values()
        assert await store.record(commit(again, lease=ReleaseLease(None)))
        await wait_for_rechecks(pool, ["pay_1", "pay_2"], within_s=0.0)
        await pool.close()


def test_a_short_drill_with_real_processes_passes(capsys, tmp_path):
    page = tmp_path / "drill.html"

    code = run(payments=40, seed=1, faults="kill", report=page)

    printed = capsys.readouterr().out
    assert code == 0, printed
    assert printed.splitlines()[-1].startswith("drill ok: 40 payments")
    assert "payouts succeeded" in printed
    assert "refunds succeeded" in printed
    assert "drill ok" in page.read_text()
