"""An encrypted backup is read back whole, or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synccash.administration.maintenance.backup.encrypted_file import MAGIC, BackupKeyError, decrypt, encrypt

KEY, OTHER = b"k" * 32, b"o" * 32
CHUNK = 65_536
SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 7]


def sealed(plain: bytes) -> bytes:
    return b"".join(encrypt(KEY, [plain], salt=b"s" * 32))


def opened(data: bytes, key: bytes = KEY) -> bytes:
    return b"".join(decrypt(key, [data]))


@pytest.mark.parametrize("size", SIZES)
def test_every_size_is_read_back_however_it_is_cut_into_parts(size):
    plain = bytes(index % 251 for index in range(size))
    parts = [plain[index : index + 10_007] for index in range(0, size, 10_007)]
    data = b"".join(encrypt(KEY, parts))
    assert (
        b"".join(decrypt(KEY, (data[index : index + 4_099] for index in range(0, len(data), 4_099)))) == plain
    )


@given(st.binary(max_size=300))
def test_two_files_of_the_same_content_differ(plain):
    first, second = b"".join(encrypt(KEY, [plain])), b"".join(encrypt(KEY, [plain]))
    assert first != second
    assert opened(first) == opened(second) == plain


@pytest.mark.parametrize("size", SIZES)
def test_another_key_opens_nothing(size):
    with pytest.raises(BackupKeyError, match="backup_key"):
        opened(sealed(b"x" * size), OTHER)


@pytest.mark.parametrize("at", [0, len(MAGIC), len(MAGIC) + 32, len(MAGIC) + 40, -1])
def test_a_changed_byte_is_noticed(at):
    data = bytearray(sealed(b"x" * 100))
    data[at] ^= 1
    with pytest.raises(BackupKeyError):
        opened(bytes(data))


def test_a_file_that_was_cut_off_at_a_chunk_is_noticed():
    data = sealed(b"x" * (3 * CHUNK))
    whole = len(MAGIC) + 32 + 2 * (CHUNK + 16)
    with pytest.raises(BackupKeyError):
        opened(data[:whole])


def test_swapped_chunks_are_noticed():
    data, head, size = sealed(b"x" * CHUNK + b"y" * CHUNK + b"z"), len(MAGIC) + 32, CHUNK + 16
    swapped = (
        data[:head] + data[head + size : head + 2 * size] + data[head : head + size] + data[head + 2 * size :]
    )
    with pytest.raises(BackupKeyError):
        opened(swapped)


@pytest.mark.parametrize("data", [b"", b"PGDMP", MAGIC, MAGIC + b"s" * 32])
def test_another_file_is_refused(data):
    with pytest.raises(BackupKeyError):
        opened(data)
