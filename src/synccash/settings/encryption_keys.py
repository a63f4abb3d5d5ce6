"""Reads the keys that encrypt stored personal data, and the key of the hashes by which it is found."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

KEY_BYTES = 32
_MAX_ID = 255
_HEX = "expected 64 hexadecimal digits, as `openssl rand -hex 32` prints them"


@dataclass(frozen=True, slots=True)
class EncryptionKeys:
    """The keys by their ids. New values are encrypted with `current`; all keys decrypt."""

    current: int
    by_id: Mapping[int, bytes] = field(repr=False)

    @classmethod
    def of(cls, text: str) -> Self:
        """Read `ID:KEY,ID:KEY,…`, the current key first. Raises ValueError.

        An id is a number from 1 to 255. It is stored with each value, so it must never name another key.
        """
        by_id: dict[int, bytes] = {}
        for part in text.split(","):
            name, colon, key = part.strip().partition(":")
            if not (colon and name.isascii() and name.isdigit() and 1 <= int(name) <= _MAX_ID):
                raise ValueError(
                    f"expected ID:KEY with an id from 1 to {_MAX_ID}, such as 1:KEY, then commas"
                )
            if int(name) in by_id:
                raise ValueError(f"the key id {name} is given twice")
            by_id[int(name)] = read_key(key)
        return cls(next(iter(by_id)), by_id)


def read_key(text: str) -> bytes:
    """Read a key of 32 bytes in hexadecimal digits. Raises ValueError."""
    try:
        key = bytes.fromhex(text)
    except ValueError:
        raise ValueError(_HEX) from None
    if len(key) != KEY_BYTES:
        raise ValueError(_HEX)
    return key
