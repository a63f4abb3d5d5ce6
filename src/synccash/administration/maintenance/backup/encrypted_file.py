"""The format of an encrypted backup: AES-256-GCM over chunks, so that a file of any size is a stream.

A file is MAGIC, a salt of 32 bytes, then chunks of 64 KiB, each with a tag of 16 bytes behind it; the last
one may be shorter. The key of the file is HKDF-SHA256 of the backup key and the salt. The nonce of a chunk is
its number (11 bytes, big-endian) and a byte that is 1 for the last chunk: chunks that were swapped, repeated
or cut off do not decrypt. This is the STREAM construction, as age has it.
"""

import os
from collections.abc import Iterable, Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAGIC = b"synccash backup 1\n"
_SALT_BYTES = 32
_CHUNK_BYTES = 65_536
_TAG_BYTES = 16
_INFO = b"synccash backup"


class BackupKeyError(Exception):
    """The file does not decrypt: it was made with another key, or it was changed or cut off."""


def encrypt(key: bytes, parts: Iterable[bytes], *, salt: bytes | None = None) -> Iterator[bytes]:
    """Yield the encrypted file of what `parts` make up. `salt` is random unless a test gives it."""
    salt = os.urandom(_SALT_BYTES) if salt is None else salt
    header, cipher = MAGIC + salt, _cipher(key, salt)
    yield header
    for number, (chunk, is_last) in enumerate(_chunks(parts, _CHUNK_BYTES)):
        yield cipher.encrypt(_nonce(number, is_last=is_last), chunk, header)


def decrypt(key: bytes, parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what was encrypted. Raises BackupKeyError, at the latest before the last chunk.

    What was yielded before an error is right, but not complete.
    """
    source = _Rest(iter(parts))
    header = source.take(len(MAGIC) + _SALT_BYTES)
    if not header.startswith(MAGIC) or len(header) != len(MAGIC) + _SALT_BYTES:
        raise BackupKeyError("the file is no encrypted backup of synccash")
    cipher = _cipher(key, header[len(MAGIC) :])
    for number, (chunk, is_last) in enumerate(_chunks(source, _CHUNK_BYTES + _TAG_BYTES)):
        try:
            yield cipher.decrypt(_nonce(number, is_last=is_last), chunk, header)
        except InvalidTag:
            raise BackupKeyError(
                "the file does not decrypt: backup_key is not the one that it was made with, or it was "
                "changed or cut off"
            ) from None


def _cipher(key: bytes, salt: bytes) -> AESGCM:
    return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=salt, info=_INFO).derive(key))


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([is_last])


def _chunks(parts: Iterable[bytes], size: int) -> Iterator[tuple[bytes, bool]]:
    """Yield chunks of `size` bytes, and whether each is the last: at least one, which may be empty."""
    held = bytearray()
    for part in parts:
        held += part
        # A full chunk is held back until more comes: it may be the last one.
        while len(held) > size:
            yield bytes(held[:size]), False
            del held[:size]
    yield bytes(held), True


class _Rest:
    """Bytes in parts, of which the first can be taken by number."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self._held = b""

    def take(self, count: int) -> bytes:
        while len(self._held) < count and (part := next(self._parts, None)) is not None:
            self._held += part
        taken, self._held = self._held[:count], self._held[count:]
        return taken

    def __iter__(self) -> Iterator[bytes]:
        yield self._held
        yield from self._parts
