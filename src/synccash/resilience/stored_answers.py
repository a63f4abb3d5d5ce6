"""Answers as bytes for a cache: a fingerprint, a status, headers and a body, and nothing else to believe."""

import json
import struct
from functools import lru_cache

from synccash.resilience.claims import Answer

_HEAD = struct.Struct(">BBHI")
_VERSION = 1


def packed(fingerprint: bytes, answer: Answer) -> bytes:
    """Write an answer with the fingerprint of its request. Raises ValueError where the body was not kept."""
    if answer.body is None:
        raise ValueError("an answer without its body is not cached")
    headers = json.dumps(answer.headers).encode()
    head = _HEAD.pack(_VERSION, len(fingerprint), answer.status, len(headers))
    return b"".join((head, fingerprint, headers, answer.body))


def unpacked(raw: bytes) -> tuple[bytes, Answer] | None:
    """Read what `packed` wrote; None for anything else, such as what another version left behind."""
    if len(raw) < _HEAD.size:
        return None
    version, length, status, headers_length = _HEAD.unpack_from(raw)
    begin = _HEAD.size + length
    if version != _VERSION or len(raw) < begin + headers_length:
        return None
    end = begin + headers_length
    headers = _headers(raw[begin:end])
    return None if headers is None else (raw[_HEAD.size : begin], Answer(status, headers, raw[end:]))


# Answers of one endpoint tend to have the same headers.
@lru_cache(maxsize=256)
def _headers(raw: bytes) -> tuple[tuple[str, str], ...] | None:
    try:
        return tuple((str(name), str(value)) for name, value in json.loads(raw))
    except (ValueError, TypeError):
        return None
