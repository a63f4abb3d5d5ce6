"""References are derived from the merchant's request only."""

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synccash.payments.rail import Operation
from synccash.payments.references import OrderIdentity, ReferenceKey

KEY = ReferenceKey.of("5c" * 32)
ORDER = OrderIdentity(merchant_id="mer_1", livemode=True, operation=Operation.COLLECT, names=("order-17",))


def test_the_same_attempt_of_the_same_order_always_has_the_same_reference():
    # Written down: a reference that changes with a release finds nothing at the rails after a restore.
    assert KEY.derive(ORDER, 1) == "89f38985-3336-4141-972e-2dedb6c834d7"


def test_a_reference_is_a_version_4_uuid_in_lower_case():
    reference = KEY.derive(ORDER, 1)
    assert (UUID(reference).version, UUID(reference).variant) == (4, "specified in RFC 4122")
    assert reference == str(UUID(reference))


@pytest.mark.parametrize(
    "other",
    [
        replace(ORDER, merchant_id="mer_2"),
        replace(ORDER, livemode=False),
        replace(ORDER, operation=Operation.PAYOUT),
        replace(ORDER, names=("order-18",)),
        replace(ORDER, names=("order", "-17")),
        replace(ORDER, names=("order-17", "")),
    ],
)
def test_another_order_has_another_reference(other: OrderIdentity):
    assert KEY.derive(other, 1) != KEY.derive(ORDER, 1)


def test_each_attempt_has_a_reference_of_its_own():
    assert len({KEY.derive(ORDER, sequence) for sequence in range(1, 101)}) == 100


def test_another_installation_derives_other_references():
    other = ReferenceKey.of("5d" * 32)
    assert other.derive(ORDER, 1) != KEY.derive(ORDER, 1)
    assert other.id != KEY.id


@given(
    st.lists(st.text(max_size=5), min_size=1, max_size=4),
    st.lists(st.text(max_size=5), min_size=1, max_size=4),
)
def test_no_two_identities_derive_the_same_reference(names: list[str], others: list[str]):
    same = KEY.derive(replace(ORDER, names=tuple(names)), 1) == KEY.derive(
        replace(ORDER, names=tuple(others)), 1
    )
    assert same is (names == others)


@pytest.mark.parametrize("secret", ["", "5c" * 31, "no hexadecimal digits", "5c" * 32 + "5"])
def test_a_key_that_is_too_short_or_no_hexadecimal_text_is_refused(secret: str):
    with pytest.raises(ValueError, match="expected"):
        ReferenceKey.of(secret)


def test_a_key_is_not_printed():
    assert "5c5c" not in repr(KEY)
