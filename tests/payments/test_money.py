import pytest
from hypothesis import given
from hypothesis import strategies as st

from synccash.payments.money import AMOUNT_MAX, from_major, to_major


@given(st.integers(min_value=0, max_value=AMOUNT_MAX))
def test_an_amount_in_cedis_round_trips_to_the_pesewa(pesewas: int):
    assert from_major(to_major(pesewas)) == pesewas


@pytest.mark.parametrize(
    ("text", "pesewas"), [("25", 2500), ("25.5", 2550), ("0.05", 5), ("0", 0), ("25.05", 2505)]
)
def test_rails_may_leave_out_decimals(text: str, pesewas: int):
    assert from_major(text) == pesewas


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "1e3", "1.234", "01", "1,00", " 1", "1.", ".5", "NaN", "\u0661", "9" * 400]
)
def test_anything_that_is_not_plainly_an_amount_is_refused(text: str):
    with pytest.raises(ValueError, match="not an amount"):
        from_major(text)


def test_a_negative_amount_cannot_be_written():
    with pytest.raises(ValueError, match="must not be negative"):
        to_major(-1)
