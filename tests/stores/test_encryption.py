"""What an encrypted value reveals, when it opens, and what the settings of the keys accept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encryption_samples import ENCRYPTION, KEY, LOOKUP_KEY, OTHER_KEY, ROTATED
from synccash.settings.encryption_keys import EncryptionKeys
from synccash.settings.loader import Settings, SettingsError, load_settings
from synccash.stores.encryption import (
    DecryptionError,
    Encryption,
    encryption_of,
    is_sealed,
    required_encryption,
)
from synccash.stores.postgres.sealing import open_fingerprint, seal_fingerprint

places = st.text(max_size=40)


@given(place=places, plain=st.binary(max_size=4_000))
def test_a_sealed_value_opens_at_its_place(place: str, plain: bytes):
    sealed = ENCRYPTION.seal(place, plain)
    assert is_sealed(sealed)
    assert ENCRYPTION.open(place, sealed) == plain
    assert len(plain) < 8 or plain not in sealed


@given(place=places, other=places, plain=st.binary(max_size=100))
def test_a_sealed_value_opens_at_no_other_place(place: str, other: str, plain: bytes):
    if place != other:
        with pytest.raises(DecryptionError, match="moved"):
            ENCRYPTION.open(other, ENCRYPTION.seal(place, plain))


@given(plain=st.binary(max_size=100), data=st.data())
def test_no_bit_of_a_sealed_value_can_be_changed(plain: bytes, data: st.DataObject):
    sealed = bytearray(ENCRYPTION.seal("payments:pay_1", plain))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DecryptionError):
        ENCRYPTION.open("payments:pay_1", bytes(sealed))


@given(data=st.binary(max_size=200))
def test_other_bytes_raise_the_same_error(data: bytes):
    with pytest.raises(DecryptionError):
        ENCRYPTION.open("payments:pay_1", data)


def test_equal_values_are_sealed_differently():
    assert ENCRYPTION.seal("a", b"0241234567") != ENCRYPTION.seal("a", b"0241234567")


def test_after_a_rotation_old_values_open_and_new_ones_have_the_new_key():
    old = ENCRYPTION.seal("a", b"old")
    assert ROTATED.open("a", old) == b"old"
    new = ROTATED.seal("a", b"new")
    with pytest.raises(DecryptionError, match="key 2, which encryption_keys does not have"):
        ENCRYPTION.open("a", new)


def test_another_key_under_the_same_id_opens_nothing():
    other = Encryption(EncryptionKeys(1, {1: OTHER_KEY}), LOOKUP_KEY)
    with pytest.raises(DecryptionError, match="another key"):
        other.open("a", ENCRYPTION.seal("a", b"old"))


@given(domain=st.sampled_from(("payer", "reference")), value=st.text(max_size=64))
def test_a_token_depends_on_the_lookup_key_the_domain_and_the_value(domain: str, value: str):
    token = ENCRYPTION.token(domain, value)
    assert token == ROTATED.token(domain, value)
    assert len(token) == 22
    assert token != Encryption(EncryptionKeys(1, {1: KEY}), OTHER_KEY).token(domain, value)
    assert token != ENCRYPTION.token("another", value)
    assert token != ENCRYPTION.token(domain, value + "x")


def test_no_key_is_printed():
    keys = EncryptionKeys.of(f"1:{KEY.hex()}")
    for text in (repr(keys), repr(ENCRYPTION)):
        assert KEY.hex() not in text
        assert repr(KEY) not in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "ID:KEY"),
        ("e1" * 32, "ID:KEY"),
        (f"0:{'e1' * 32}", "1 to 255"),
        (f"256:{'e1' * 32}", "1 to 255"),
        (f"one:{'e1' * 32}", "1 to 255"),
        ("1:e1", "64 hexadecimal digits"),
        ("1:" + "zz" * 32, "64 hexadecimal digits"),
        (f"1:{'e1' * 32},1:{'e2' * 32}", "given twice"),
    ],
)
def test_keys_of_another_form_are_refused_without_being_quoted(text: str, expected: str):
    with pytest.raises(ValueError, match=expected) as refused:
        EncryptionKeys.of(text)
    assert "e1e1" not in str(refused.value)
    if text:
        with pytest.raises(SettingsError, match=f"encryption_keys.*{expected}"):
            load_settings({"SYNCCASH_ENCRYPTION_KEYS": text})


def test_both_settings_belong_together_and_the_service_requires_them():
    keys, lookup_key = f"1:{KEY.hex()}", LOOKUP_KEY.hex()
    assert encryption_of(Settings()) is None
    with pytest.raises(SettingsError, match="openssl rand -hex 32"):
        required_encryption(Settings())
    with pytest.raises(SettingsError, match="lookup_key is not set"):
        encryption_of(load_settings({"SYNCCASH_ENCRYPTION_KEYS": keys}).settings)
    with pytest.raises(SettingsError, match="encryption_keys is not set"):
        encryption_of(load_settings({"SYNCCASH_LOOKUP_KEY": lookup_key}).settings)
    environment = {"SYNCCASH_ENCRYPTION_KEYS": keys, "SYNCCASH_LOOKUP_KEY": lookup_key}
    made = required_encryption(load_settings(environment).settings)
    assert made.open("a", ENCRYPTION.seal("a", b"text")) == b"text"


@pytest.mark.parametrize("length", [32, 33])
def test_a_fingerprint_that_begins_as_a_sealed_value_is_read(length: int):
    fingerprint = ENCRYPTION.seal("", b"")[:1] + bytes(length - 1)
    assert is_sealed(fingerprint)
    for one in (ENCRYPTION, None):
        assert open_fingerprint(one, "pay_1", fingerprint) == fingerprint
    sealed = seal_fingerprint(ENCRYPTION, "pay_1", fingerprint)
    assert open_fingerprint(ENCRYPTION, "pay_1", sealed) == fingerprint
