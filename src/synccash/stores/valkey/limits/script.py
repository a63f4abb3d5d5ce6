"""How decisions travel: arguments of `limits.lua` for the requests of one run, and what its answer means."""

from collections.abc import Sequence
from hashlib import sha1, sha256
from importlib.resources import files
from typing import Any

import msgspec

from synccash.resilience._core.fast_tuple import made
from synccash.resilience.rate_limiter import Decision, Demand, Limit, LimitStatus

SOURCE = files("synccash.stores.valkey").joinpath("limits.lua").read_bytes()
DIGEST = sha1(SOURCE, usedforsecurity=False).hexdigest().encode()
# Beside what a limit has counted: a block by hand, for so many milliseconds.
BLOCK = b"""
local t = redis.call('TIME')
local till = t[1] * 1000000 + t[2] + ARGV[1] * 1000
local counted = string.match(redis.call('GET', KEYS[1]) or '', '^[^|]*')
redis.call('SET', KEYS[1], counted .. string.format('|%.0f 0 0 0', till), 'PX',
    math.max(ARGV[1], redis.call('PTTL', KEYS[1])))
"""
_ALGORITHMS = {"token_bucket": 0, "sliding_window": 1, "fixed_window": 2}
_LONGEST_ID = 128
# One hash tag for all: what one script touches has to live on one node of a cluster.
TAG = "{synccash:rl}"

Request = tuple[Sequence[Demand], str | None]
"""What one request demands, and the `answer_key` under which its answer may be stored."""


def answer_key(scope: str, key: str) -> str:
    """Where a stored answer has to be kept so that a decision can bring it along."""
    return f"{TAG}:answer:{scope}:{key}"


def state_key(limit: Limit, id: str) -> str:  # noqa: A002
    """The key of one limit for one id; a long id is hashed."""
    return _known(limit)[1] + _short(id)


def arguments(requests: Sequence[Request], now_us: int | None = None) -> list[bytes | str | int]:
    """`numkeys key… arg…`, as they follow the script. `now_us` replaces the server's clock, for tests.

    At least one of the requests has to demand or to ask something.
    """
    states: dict[str, int] = {}
    # With the terms, so that no other can take an identity that is in use.
    begins: dict[int, tuple[int, _Term]] = {}
    answers: list[str] = []
    terms: list[int] = []
    asked: list[int] = []
    for demands, answer in requests:
        if answer is None:
            asked += (len(demands), 0)
        else:
            answers.append(answer)
            asked += (len(demands), len(answers))
        for one in demands:
            _, prefix, encoded = _KNOWN.get(id(one.limit)) or _known(one.limit)
            term = encoded.get(one.cost) or _encoded(one.limit, one.cost)
            begun = begins.get(id(term))
            if begun is None:
                begun = begins[id(term)] = len(terms), term
                terms += term
            name = one.id
            if len(name) > _LONGEST_ID:
                name = _short(name)
            asked += (begun[0], states.setdefault(prefix + name, len(states) + 1))
    now = b"" if now_us is None else now_us
    return [len(states) + len(answers), *states, *answers, now, len(states), _packed(terms), _packed(asked)]


def decisions(reply: list[Any], requests: Sequence[Request]) -> list[Decision]:
    """The script's answer as values, in the order of the requests."""
    now, at = reply[0], 1
    found: list[Decision] = []
    for demands, asked in requests:
        common, answer = reply[at], None
        at += 1
        if asked is not None:
            answer = reply[at]
            at += 1
        if common:
            standings: list[LimitStatus] = []
            for one in demands:
                limit, left = one.limit, reply[at] - now
                at += 1
                room = (limit.full_us - left) // limit.unit_us
                standings.append(made(LimitStatus, (one, False, room if room > 0 else 0, 0, left, 0)))
            found.append(made(Decision, (True, tuple(standings), answer, False, 0)))
            continue
        allowed, newly = reply[at], reply[at + 1]
        at += 2
        end = at + 5 * len(demands)
        closely = tuple(
            LimitStatus(one, bool(reply[at]), reply[at + 1], reply[at + 2], reply[at + 3], reply[at + 4])
            for at, one in zip(range(at, end, 5), demands, strict=True)
        )
        at = end
        found.append(Decision(bool(allowed), closely, answer, newly_blocked=newly))
    return found


_packed = msgspec.msgpack.Encoder().encode

_Term = tuple[int, ...]
# By identity: hashing a frozen value costs more than what is saved. Limits are few and live for ever.
_KNOWN: dict[int, tuple[Limit, str, dict[int, _Term]]] = {}
_MOST_KNOWN = 1_000
_MOST_COSTS = 1_000


def _known(limit: Limit) -> tuple[Limit, str, dict[int, _Term]]:
    """The limit, what its keys begin with, and its terms by cost."""
    known = _KNOWN.get(id(limit))
    if known is None:
        if len(_KNOWN) >= _MOST_KNOWN:
            _KNOWN.clear()
        known = _KNOWN[id(limit)] = limit, f"{TAG}:{limit.key}:", {}
    return known


def _encoded(limit: Limit, cost: int) -> _Term:
    bucket = limit.algorithm == "token_bucket"
    unit = limit.unit_us if bucket else limit.period_us
    block = limit.block
    term = (
        cost * unit if bucket else 0,
        limit.full_us if bucket else -1,
        # An answer that is stored already costs no user quota.
        int(limit.scope == "user"),
        _ALGORITHMS[limit.algorithm],
        unit,
        limit.capacity,
        cost,
        int(limit.shadow),
        *(
            (0, 0, 0, 0)
            if block is None
            else (block.violations, block.window_us, block.duration_us, block.cap_us)
        ),
    )
    terms = _known(limit)[2]
    if len(terms) >= _MOST_COSTS:
        terms.clear()
    terms[cost] = term
    return term


def _short(id: str) -> str:  # noqa: A002
    return id if len(id) <= _LONGEST_ID else sha256(id.encode()).hexdigest()
