import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synccash.resilience.idempotency import (
    DuplicateMemberError,
    IdempotencyKeyError,
    NotJsonError,
    _members,  # pyright: ignore[reportPrivateUsage]
    fingerprint,
    idempotency_key,
    read_json,
)

KEYS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=200)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc"), inner, max_size=3),
    max_leaves=8,
)


def print_of(text: str, path: str = "/p") -> bytes:
    return fingerprint(path, read_json(text.encode()))


@settings(max_examples=200)
@given(KEYS)
def test_a_quoted_key_and_a_bare_one_are_the_same(key: str):
    quoted = '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if not key.startswith('"'):
        assert idempotency_key([key.encode()]) == key
    assert idempotency_key([quoted.encode()]) == key
    assert idempotency_key([quoted.encode(), quoted.encode()]) == key


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [b""],
        [b'""'],
        [b"a b"],
        [b"a" * 256],
        [b"caf\xe9"],
        [b"a\x00"],
        [b"a", b"b"],
    ],
)
def test_a_header_that_is_no_one_key_is_refused(headers: list[bytes]):
    with pytest.raises(IdempotencyKeyError):
        idempotency_key(headers)


@settings(max_examples=100)
@given(st.dictionaries(st.text("abcd", max_size=3), VALUES, max_size=5))
def test_neither_the_order_of_members_nor_spelling_changes_a_fingerprint(body: dict[str, object]):
    turned = dict(reversed(body.items()))
    assert print_of(json.dumps(body)) == print_of(json.dumps(turned, ensure_ascii=False, indent=2))


@pytest.mark.parametrize("other", ["1.0", "10e-1", "0.1E1", "1e0", "1.000e+00"])
def test_one_number_has_one_fingerprint_however_it_is_written(other: str):
    assert print_of(f'{{"a":{other}}}') == print_of('{"a":1}')


@pytest.mark.parametrize("other", ["-1", "10", "1.00000000000000000001", '"1"', "true", "1e400", "null"])
def test_another_value_has_another_fingerprint(other: str):
    assert print_of(f'{{"a":{other}}}') != print_of('{"a":1}')


def test_a_fingerprint_covers_the_path():
    assert print_of("{}", "/a") != print_of("{}", "/b")


def test_numbers_of_any_size_are_told_apart_without_computing_them():
    big = "1" + "0" * 400
    assert print_of(f'{{"a":{big}}}') == print_of('{"a":1e400}')
    assert print_of('{"a":1e99999999999999999999}') != print_of('{"a":1e99999999999999999998}')


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"\xff{}", b"\xef\xbb\xbf{}", b'{"a":NaN}', b'{"a":Infinity}', b"[" * 20_000, b'{"a":01}'],
)
def test_what_is_no_json_is_refused(raw: bytes):
    with pytest.raises(NotJsonError):
        read_json(raw)


def test_a_member_given_twice_is_refused_at_any_depth():
    with pytest.raises(DuplicateMemberError) as caught:
        read_json(b'{"a":{"b":1,"b":1}}')
    assert caught.value.name == "b"


class Compared(str):
    """A name that counts how often it is compared with another."""

    times = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object):
        Compared.times += 1
        return str.__eq__(self, other)  # type: ignore[arg-type]


def test_a_member_given_twice_is_found_with_as_many_comparisons_as_members_at_most():
    names = [Compared(f"m{number}") for number in range(2_000)]
    Compared.times = 0
    with pytest.raises(DuplicateMemberError) as refused:
        _members([(name, 1) for name in [*names, Compared("m1999")]])
    assert refused.value.name == "m1999"
    assert Compared.times <= len(names)
