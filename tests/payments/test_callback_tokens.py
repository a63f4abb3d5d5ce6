"""Tokens of callback addresses are recognized without a query."""

import secrets

import pytest

from synccash.payments.references import ReferenceKey

KEY, OTHER = ReferenceKey.of("5c" * 32), ReferenceKey.of("6d" * 32)


def test_only_the_installation_that_signed_a_token_recognizes_it():
    token = KEY.sign_token(secrets.token_urlsafe(32))
    assert KEY.has_signed(token)
    assert not OTHER.has_signed(token)


def test_a_changed_token_is_not_recognized():
    token = KEY.sign_token("a" * 43)
    for at in range(len(token)):
        changed = token[:at] + ("b" if token[at] != "b" else "c") + token[at + 1 :]
        assert not KEY.has_signed(changed), at


@pytest.mark.parametrize("token", ["", "a", "a" * 24, "a" * 43, "a" * 67, "\u00e9" * 67, "a" * 100_000])
def test_any_other_text_is_not_recognized(token: str):
    assert not KEY.has_signed(token)
