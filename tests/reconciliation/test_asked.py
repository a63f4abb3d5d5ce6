import pytest

from synccash.administration.errors import AdministrationError
from synccash.administration.reconciling import Asked, reconcile
from synccash.reconciliation.report import TableReport
from synccash.settings import Settings

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
        reconcile(NOBODY, Asked(**{"file": file, "rail": "mtn_momo"} | asked), TableReport())
    assert word in str(refused.value)
