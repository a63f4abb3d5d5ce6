"""Encrypts personal data and secrets before they are stored, and hashes the values that rows are found by.

AES-256-GCM-SIV (RFC 8452) with random nonces; HMAC-SHA-256 with a key of its own for the hashes.
"""

import hmac
import os
from base64 import urlsafe_b64encode
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from synccash.settings.encryption_keys import EncryptionKeys, read_key
from synccash.settings.loader import Settings, SettingsError

IDEMPOTENCY_KEY: Final = "idempotency_key"
"""The domain of hashed idempotency keys, in PostgreSQL and in Valkey."""
_FORMAT: Final = 0xE1
_NONCE: Final = 12
_HEAD: Final = 2
_TAG: Final = 16
_DIGEST: Final = 16


class DecryptionError(ValueError):
    """A stored value cannot be decrypted: its key is not configured, or it was changed or moved."""


class Encryption:
    """The keys of one process; safe to share.

    A sealed value is one byte for the format, one for the key's id, the nonce, and the ciphertext with its
    tag. `place` names where it is stored, such as `payments:pay_1`, and is authenticated: a value that was
    copied to another row or column does not open.
    """

    __slots__ = ("_ciphers", "_current", "_head", "_lookup_key", "current_key_id")

    def __init__(self, keys: EncryptionKeys, lookup_key: bytes) -> None:
        self._ciphers = {key_id: AESGCMSIV(key) for key_id, key in keys.by_id.items()}
        self._current = self._ciphers[keys.current]
        self._head = bytes((_FORMAT, keys.current))
        self._lookup_key = lookup_key
        self.current_key_id = keys.current

    def __repr__(self) -> str:
        return f"Encryption(current_key_id={self.current_key_id})"

    def seal(self, place: str, plain: bytes) -> bytes:
        """Encrypt a value with the current key."""
        nonce = os.urandom(_NONCE)
        sealed = self._current.encrypt(nonce, plain, self._head + place.encode())
        return self._head + nonce + sealed

    def open(self, place: str, sealed: bytes) -> bytes:
        """Decrypt what `seal` returned for the same place. Raises DecryptionError."""
        if len(sealed) < _HEAD + _NONCE + _TAG or sealed[0] != _FORMAT:
            raise DecryptionError("the stored value is not an encrypted one")
        cipher = self._ciphers.get(sealed[1])
        if cipher is None:
            raise DecryptionError(
                f"the stored value is encrypted with the key {sealed[1]}, which encryption_keys does not have"
            )
        nonce, encrypted = sealed[_HEAD : _HEAD + _NONCE], sealed[_HEAD + _NONCE :]
        try:
            return cipher.decrypt(nonce, encrypted, sealed[:_HEAD] + place.encode())
        except InvalidTag:
            raise DecryptionError(
                "the stored value was changed, moved, or encrypted with another key"
            ) from None

    def digest(self, domain: str, value: str) -> bytes:
        """Return 16 bytes that only this lookup key makes of the value. Domains separate kinds of values."""
        return hmac.digest(self._lookup_key, f"{domain}\0{value}".encode(), "sha256")[:_DIGEST]

    def derived_key(self, purpose: str) -> bytes:
        """Return a key of 32 bytes for hashes that another part computes itself."""
        return hmac.digest(self._lookup_key, f"key\0{purpose}".encode(), "sha256")

    def token(self, domain: str, value: str) -> str:
        """Return the digest as text of 22 characters, which replaces the value in columns and key names."""
        return urlsafe_b64encode(self.digest(domain, value))[:-2].decode()


def is_sealed(value: bytes) -> bool:
    """Return whether a value has the format of `Encryption.seal`; fingerprints and JSON begin otherwise."""
    return len(value) >= _HEAD + _NONCE + _TAG and value[0] == _FORMAT


def encryption_of(settings: Settings) -> Encryption | None:
    """Return the encryption that the settings describe; None where they name no keys.

    Raises SettingsError when only one of the two settings is given.
    """
    keys, lookup_key = settings.encryption_keys, settings.lookup_key
    if not keys and not lookup_key:
        return None
    if not keys or not lookup_key:
        missing = "lookup_key" if keys else "encryption_keys"
        raise SettingsError(f"{missing} is not set; encryption_keys and lookup_key belong together")
    return Encryption(EncryptionKeys.of(keys.reveal()), read_key(lookup_key.reveal()))


def required_encryption(settings: Settings) -> Encryption:
    """Return the encryption that the settings describe. Raises SettingsError when they name no keys."""
    encryption = encryption_of(settings)
    if encryption is None:
        raise SettingsError(
            "encryption_keys and lookup_key are not set; generate two keys with `openssl rand -hex 32`, set "
            "them for every process and for `synccash` commands as SYNCCASH_ENCRYPTION_KEYS=1:KEY and "
            "SYNCCASH_LOOKUP_KEY=KEY (or with _FILE), and store them apart from the database's backups: "
            "without them phone numbers, references and webhook secrets cannot be read"
        )
    return encryption
