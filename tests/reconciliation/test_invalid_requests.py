import pytest

from synccash.administration.errors import AdministrationError
from synccash.administration.maintenance.reconciling import ReconciliationRequest, reconcile
from synccash.reconciliation.report import TableReport
from synccash.settings.loader import Settings

NOBODY = Settings(database_url="postgresql://127.0.0.1:9/nobody")


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ({"rail": "visa"}, "mtn_momo, paystack"),
        ({"columns": "sum=b"}, "NAME=HEADER"),
        ({"columns": "amount"}, "NAME=HEADER"),
        ({"time_zone": "Ghana/Kumasi"}, "Africa/Accra"),
        ({"first": "soon"}, "--from soon"),
        ({"last": "later"}, "--to later"),
        ({}, "--columns"),
        ({"file": "nowhere.csv"}, "nowhere.csv"),
    ],
)
def test_what_cannot_be_compared_says_what_was_expected(asked, word, tmp_path):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    file = tmp_path / asked.pop("file", "other.csv")
    with pytest.raises(AdministrationError) as refused:
        reconcile(NOBODY, ReconciliationRequest(**{"file": file, "rail": "mtn_momo"} | asked), TableReport())
    assert word in str(refused.value)


HEADER = "External id,Date,Amount,Currency\n"
ROW = "0b9ff1a4-6ea6-4b13-8b5b-2b2b2b2b2b2b,2026-11-24 10:00,25.00,{currency}\n"


@pytest.mark.parametrize(
    ("rows", "asked", "word"),
    [
        # Turned around, nothing would be missing and the books would seem to agree.
        (ROW.format(currency="GHS"), {"first": "2026-11-30", "last": "2026-11-01"}, "swap --from and --to"),
        (ROW.format(currency="GHS"), {"last": "2026-11-22"}, "swap --from and --to"),
        (ROW.format(currency="USD"), {}, "in line 2: the currency 'USD' is not GHS"),
        ("", {}, "--from and --to"),
    ],
)
def test_a_file_that_would_agree_for_the_wrong_reason_is_refused(rows, asked, word, tmp_path):
    file = tmp_path / "statement.csv"
    file.write_text(HEADER + rows)
    with pytest.raises(AdministrationError) as refused:
        reconcile(NOBODY, ReconciliationRequest(file=file, rail="mtn_momo", **asked), TableReport())
    assert word in str(refused.value)
