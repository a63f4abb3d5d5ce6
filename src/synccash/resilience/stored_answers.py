"""Answers as bytes for a cache: a fingerprint, a status, headers and a body, and nothing else to believe."""

import json
import struct

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
    try:
        headers = json.loads(raw[begin : begin + headers_length])
        pairs = tuple((str(name), str(value)) for name, value in headers)
    except (ValueError, TypeError):
        return None
    return raw[_HEAD.size : begin], Answer(status, pairs, raw[begin + headers_length :])
