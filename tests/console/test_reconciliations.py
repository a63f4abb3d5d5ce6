"""The results of `synccash reconcile` are shown with their differences, each with its order."""

import csv
from pathlib import Path

import pytest

from api.served import settings
from servers_fixture import service_url
from synccash.administration.maintenance.reconciling import ReconciliationRequest, reconcile
from synccash.reconciliation.report import TableReport

pytestmark = pytest.mark.asyncio(loop_scope="module")
HEADER = ["Id", "External id", "Date", "Status", "Type", "Amount", "Currency"]


def statement(path: Path, *rows: tuple[str, str, str]) -> Path:
    """A statement of MTN MoMo with debits: (id, reference, amount)."""
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(HEADER)
        for number, reference, amount in rows:
            writer.writerow([number, reference, "2020-01-01T00:00:00Z", "Successful", "Debit", amount, "GHS"])
    return path


async def run(database_url: str, file: Path):
    import asyncio

    chosen = settings(await service_url(database_url))
    request = ReconciliationRequest(
        file=file, rail="mtn_momo", first="2020-01-01T00:00", last="2099-01-01T00:00"
    )
    return await asyncio.to_thread(reconcile, chosen, request, TableReport())


async def test_there_are_none_at_first(admin):
    assert "No statement has been compared yet." in await admin.page("/console/reconciliations")


async def test_each_difference_is_shown_with_its_order_and_what_to_do(
    api, admin, viewer, database_of_file, tmp_path
):
    made = (await api.pay()).json()
    file = statement(
        tmp_path / "march.csv",
        ("1", made["attempts"][0]["reference"], "1.00"),
        ("2", "for 0241234567", "3.00"),
    )
    summary = await run(database_of_file, file)
    assert summary.not_kept is None
    listed = await admin.page("/console/reconciliations")
    assert "march.csv" in listed
    assert "1 surplus, 1 not succeeded" in listed
    path = listed.partition('href="/console/reconciliations/')[2].partition('"')[0]
    for browser in (admin, viewer):
        page = await browser.page(f"/console/reconciliations/{path}")
        for text in (made["id"], "3.00", "money moved, and we have not recorded a success"):
            assert text in page
        assert "0241234567" not in page


async def test_an_unknown_run_is_not_found(admin):
    assert (await admin.get("/console/reconciliations/rec_1")).status_code == 404
