"""Whole reconciliations over PostgreSQL: a scripted rail's attempts against files that were tampered with."""

import csv
import io
import json
import random
from collections import Counter
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from engine.scripted import SUCCEEDED
from synccash.payments.reconciliation import Verdict
from synccash.rails.registry import RAILS
from synccash.reconciliation.reading import StatementError, StatementFormat
from synccash.reconciliation.report import COLUMNS, CsvReport, JsonReport, TableReport, facts
from synccash.reconciliation.run import Reconciliation, Summary
from synccash.reconciliation.statement_index import StatementIndex
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.movements import PostgresMovements

HEADER = ["Id", "External id", "Date", "Status", "Type", "Amount"]


class Findings:
    """A report that keeps everything."""

    def __init__(self):
        self.rows = []

    def finding(self, finding):
        self.rows.append(facts(finding))

    def broken(self, row):
        self.rows.append({"verdict": "broken", "line": row.number})


async def paid(desk, count):
    """That many payments that succeeded, each with its attempt."""
    desk.first.status_at_rail = SUCCEEDED
    ids = [(await desk.pay(f"order {number}"))["id"] for number in range(count)]
    for _ in range(count):
        if not await desk.work():
            break
    return [(await desk.engine.order_store.payment(id_)).attempts[0] for id_ in ids]


def row(attempt, number, *, kind="Debit", amount=None, late=timedelta(seconds=30)):
    cedis = f"{(attempt.amount if amount is None else amount) / 100:.2f}"
    at = (attempt.started_at + late).isoformat()
    return [number, attempt.reference, at, "Successful", kind, cedis]


def written(tmp_path, rows):
    path = tmp_path / "statement.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows])
    return path


async def reconciled(desk, path, report, **given):
    summary = Summary(**given)
    shape = StatementFormat(layout=RAILS["mtn_momo"].statement, zone=ZoneInfo("Africa/Accra"))
    with StatementIndex() as index:
        run = Reconciliation(PostgresMovements(Database(desk.pool), "mtn_momo"), report, index, summary)
        run.load(path, shape)
        await run.compare()
    return summary


async def test_what_both_sides_have_matches_and_nothing_needs_review(desk, tmp_path):
    attempts = await paid(desk, 4)
    rows = [row(attempt, number) for number, attempt in enumerate(attempts, 1)]
    random.Random(1).shuffle(rows)
    first = attempts[0].started_at
    summary = await reconciled(desk, written(tmp_path, rows), Findings(), first=first)
    assert (summary.verdicts, summary.clean) == (Counter({Verdict.MATCHED: 4}), True)


async def test_every_kind_of_difference_is_told_once_with_its_order(desk, tmp_path):
    matched, missing, differs, double = await paid(desk, 4)
    desk.first.status_at_rail = SUCCEEDED
    payout = await desk.pay_out()
    await desk.work()
    out = (await desk.engine.order_store.payout(payout["id"])).attempts[0]
    path = written(
        tmp_path,
        [
            row(matched, 1),
            row(differs, 2, amount=999),
            row(double, 3),
            row(double, 4),
            row(out, 5, kind="Transfer"),
            [6, "0e3f8a52-6a0c-4a4e-9d1b-0f5a5d6e7f80", matched.started_at, "Successful", "Debit", "3.00"],
            [7, "", matched.started_at, "Successful", "Debit", "a lot"],
        ],
    )
    report = Findings()
    summary = await reconciled(
        desk, path, report, first=matched.started_at, last=out.started_at + timedelta(hours=1)
    )
    told = {(one["verdict"], one["line"], one.get("order_id")) for one in report.rows}
    assert told == {
        ("matched", 2, matched.order_id),
        ("missing", None, missing.order_id),
        ("amount_differs", 3, differs.order_id),
        ("matched", 4, double.order_id),
        ("double", 5, double.order_id),
        ("matched", 6, payout["id"]),
        ("surplus", 7, None),
        ("broken", 8, None),
    }
    assert (len(report.rows), summary.clean) == (8, False)


async def test_money_that_moved_for_a_payment_that_has_not_succeeded_is_told(desk, tmp_path):
    payment = await desk.pay()
    attempt = (await desk.engine.order_store.payment(payment["id"])).attempts[0]
    report = Findings()
    await reconciled(desk, written(tmp_path, [row(attempt, 1)]), report)
    assert [(one["verdict"], one["order_id"]) for one in report.rows] == [("not_succeeded", payment["id"])]


async def test_a_row_that_was_exported_twice_is_one_transaction(desk, tmp_path):
    (attempt,) = await paid(desk, 1)
    path = written(tmp_path, [row(attempt, 1), row(attempt, 1)])
    summary = await reconciled(desk, path, Findings(), first=attempt.started_at)
    assert (summary.verdicts, summary.repeated) == (Counter({Verdict.MATCHED: 1}), 1)


async def test_an_attempt_from_before_the_statement_s_first_row_is_found_by_its_reference(desk, tmp_path):
    early, late = await paid(desk, 2)
    path = written(
        tmp_path, [row(early, 1, late=timedelta(hours=40)), row(late, 2, late=timedelta(hours=41))]
    )
    summary = await reconciled(desk, path, Findings())
    assert summary.verdicts == Counter({Verdict.MATCHED: 2})


async def test_a_row_without_a_reference_is_found_by_the_rail_s_id(desk, tmp_path):
    (attempt,) = await paid(desk, 1)
    await desk.pool.execute("UPDATE attempts SET provider_transaction_id = '4711'")
    path = written(
        tmp_path, [[4711, "", attempt.started_at + timedelta(hours=1), "Successful", "Debit", "10"]]
    )
    summary = await reconciled(desk, path, Findings())
    assert summary.verdicts == Counter({Verdict.MATCHED: 1})


async def test_a_file_of_many_pages_loses_no_row(desk, tmp_path):
    (attempt,) = await paid(desk, 1)
    strangers = [
        [n, f"x-{n}", attempt.started_at + timedelta(seconds=n), "Successful", "Debit", "1"]
        for n in range(3500)
    ]
    path = written(tmp_path, [*strangers, row(attempt, "z")])
    report = Findings()
    summary = await reconciled(desk, path, report, first=attempt.started_at)
    assert summary.verdicts == Counter({Verdict.SURPLUS: 3500, Verdict.MATCHED: 1})
    assert sorted(one["line"] for one in report.rows) == list(range(2, 3503))


async def test_without_any_time_the_period_has_to_be_said(desk, tmp_path):
    path = tmp_path / "statement.csv"
    path.write_text("External id,Amount\nx,1\n")
    with pytest.raises(StatementError, match="--from"):
        await reconciled(desk, path, Findings())


async def test_reports_for_programs_hold_everything_and_no_formula(desk, tmp_path):
    (attempt,) = await paid(desk, 1)
    rows = [row(attempt, 1), ["=cmd()", "=1+1", attempt.started_at, "Successful", "Debit", "1"]]
    path = written(tmp_path, rows)
    as_csv, as_json, empty = io.StringIO(), io.StringIO(), io.StringIO()
    for report in (CsvReport(as_csv), JsonReport(as_json)):
        report.close(await reconciled(desk, path, report, first=attempt.started_at))
    found = list(csv.DictReader(io.StringIO(as_csv.getvalue())))
    assert [(one["verdict"], one["stated"]) for one in found] == [("matched", "10.00"), ("surplus", "1.00")]
    assert set(found[0]) == set(COLUMNS)
    assert not any(value.startswith("=") for one in found for value in one.values())
    document = json.loads(as_json.getvalue())
    assert [one["verdict"] for one in document["findings"]] == ["matched", "surplus"]
    assert (document["summary"]["matched"], document["summary"]["surplus"]) == (1, 1)
    JsonReport(empty).close(Summary())
    assert json.loads(empty.getvalue())["findings"] == []


async def test_a_table_shows_the_first_differences_and_counts_the_rest(desk, tmp_path):
    (attempt,) = await paid(desk, 1)
    strangers = [[n, f"x-{n}", attempt.started_at, "Successful", "Debit", "1"] for n in range(60)]
    report = TableReport()
    await reconciled(
        desk, written(tmp_path, [row(attempt, "z"), *strangers]), report, first=attempt.started_at
    )
    assert (len(report.rows), report.more) == (50, 10)
