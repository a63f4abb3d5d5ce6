"""Idempotency keys and fingerprints of requests."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synccash.resilience.idempotency import (
    DuplicateMemberError,
    IdempotencyKeyError,
    NotJsonError,
    _object_members,  # pyright: ignore[reportPrivateUsage]
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


def fingerprint_of(text: str, path: str = "/p") -> bytes:
    return fingerprint(path, read_json(text.encode()))


@settings(max_examples=200)
@given(KEYS)
def test_a_quoted_key_and_a_bare_key_are_the_same_key(key: str):
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
def test_invalid_idempotency_key_headers_are_refused(headers: list[bytes]):
    with pytest.raises(IdempotencyKeyError):
        idempotency_key(headers)


@settings(max_examples=100)
@given(st.dictionaries(st.text("abcd", max_size=3), VALUES, max_size=5))
def test_member_order_and_string_notation_do_not_change_the_fingerprint(body: dict[str, object]):
    reordered = dict(reversed(body.items()))
    assert fingerprint_of(json.dumps(body)) == fingerprint_of(
        json.dumps(reordered, ensure_ascii=False, indent=2)
    )


@pytest.mark.parametrize("other", ["1.0", "10e-1", "0.1E1", "1e0", "1.000e+00"])
def test_every_notation_of_a_number_has_the_same_fingerprint(other: str):
    assert fingerprint_of(f'{{"a":{other}}}') == fingerprint_of('{"a":1}')


@pytest.mark.parametrize(
    ("whole", "other"),
    [("0", "0e7"), ("0", "-0"), ("1200", "12e2"), ("7", "70e-1"), ("1" + "0" * 30, "1e30")],
)
def test_a_whole_number_has_the_fingerprint_of_its_other_notations(whole: str, other: str):
    assert fingerprint_of(f'{{"a":{whole}}}') == fingerprint_of(f'{{"a":{other}}}')


@pytest.mark.parametrize("other", ["-1", "10", "1.00000000000000000001", '"1"', "true", "1e400", "null"])
def test_different_values_have_different_fingerprints(other: str):
    assert fingerprint_of(f'{{"a":{other}}}') != fingerprint_of('{"a":1}')


def test_different_paths_have_different_fingerprints():
    assert fingerprint_of("{}", "/a") != fingerprint_of("{}", "/b")


def test_numbers_of_any_size_are_compared_without_computing_them():
    big = "1" + "0" * 400
    assert fingerprint_of(f'{{"a":{big}}}') == fingerprint_of('{"a":1e400}')
    assert fingerprint_of('{"a":1e99999999999999999999}') != fingerprint_of('{"a":1e99999999999999999998}')


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"\xff{}", b"\xef\xbb\xbf{}", b'{"a":NaN}', b'{"a":Infinity}', b"[" * 20_000, b'{"a":01}'],
)
def test_invalid_json_is_refused(raw: bytes):
    with pytest.raises(NotJsonError):
        read_json(raw)


@pytest.mark.parametrize(
    ("value", "what"),
    [("1e1", "numbers"), ("-1", "numbers"), ("7", "numbers"), ("{}", "objects and members")],
)
def test_more_numbers_or_objects_than_allowed_are_refused_before_they_are_all_read(value: str, what: str):
    allowed = "[" + ",".join([value] * 20) + "]"
    assert len(read_json(allowed.encode(), values_max=20)) == 20
    assert len(read_json(allowed.replace("]", f",{value}]").encode())) == 21
    # What stands behind the first value too many is not read: it is no JSON.
    with pytest.raises(NotJsonError, match=f"^the body has more than 20 {what}$"):
        read_json(allowed.replace("]", f",{value},nonsense").encode(), values_max=20)


def test_more_members_than_allowed_are_refused_however_the_objects_are_cut():
    wide = "{" + ",".join(f'"{number}":""' for number in range(19)) + "}"
    assert len(read_json(wide.encode(), values_max=20)) == 19
    deep = '{"a":' * 10 + '""' + "}" * 10
    assert read_json(deep.encode(), values_max=20) == read_json(deep.encode())
    for more in (wide.replace("}", ',"x":""}'), f"[{wide},{{}}]", f'{{"a":{deep}}}'):
        with pytest.raises(NotJsonError, match=r"^the body has more than 20 objects and members$"):
            read_json(more.encode(), values_max=20)


def test_a_duplicate_member_is_refused_at_any_depth():
    with pytest.raises(DuplicateMemberError) as caught:
        read_json(b'{"a":{"b":1,"b":1}}')
    assert caught.value.name == "b"


class CountingName(str):
    """A member name that counts its comparisons."""

    times = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object):
        CountingName.times += 1
        return str.__eq__(self, other)  # type: ignore[arg-type]


def test_a_duplicate_member_is_found_with_at_most_one_comparison_per_member():
    names = [CountingName(f"m{number}") for number in range(2_000)]
    CountingName.times = 0
    with pytest.raises(DuplicateMemberError) as refused:
        # The parser of read_json creates plain strings, which cannot count their comparisons.
        _object_members([(name, 1) for name in [*names, CountingName("m1999")]])
    assert refused.value.name == "m1999"
    assert CountingName.times <= len(names)


def test_the_query_is_part_of_a_fingerprint_in_any_order_of_its_names():
    def of(query):
        return fingerprint("/orders", {}, query)

    assert of(b"a=1&b=2&a=3") == of(b"b=2&a=1&a=3") == of(b"b=%32&&a=1&a=3")
    different = [b"", b"a=1", b"a=", b"a=1&a=3", b"a=3&a=1", b"a=%ff", b"a=%fe", b"a=\xff", b"a=%26b=2"]
    assert len({of(query) for query in different}) == len(different)
    assert of(b"") != fingerprint("/orders", {})
    assert (of(b"")[0], fingerprint("/orders", {})[0]) == (2, 1)
