"""Encodes rate-limit requests as arguments of `limits.lua`, and decodes the script's reply into decisions."""

from collections.abc import Mapping, Sequence
from hashlib import sha1, sha256
from importlib.resources import files
from typing import Any, assert_never

import msgspec

from synccash.resilience.fast_tuple import make_namedtuple
from synccash.resilience.rate_limiter import Algorithm, BlockedKey, Decision, Demand, Limit, LimitStatus

SOURCE = files("synccash.stores.valkey.limits").joinpath("limits.lua").read_bytes()
DIGEST = sha1(SOURCE, usedforsecurity=False).hexdigest().encode()
# Blocks a key for ARGV[1] milliseconds and keeps the state of its limit, which is stored in the same value.
# KEYS[2] lists the blocked keys by the end of their blocks, as `limits.lua` does.
BLOCK = b"""
local t = redis.call('TIME')
local till = t[1] * 1000000 + t[2] + ARGV[1] * 1000
local counted = string.match(redis.call('GET', KEYS[1]) or '', '^[^|]*')
redis.call('SET', KEYS[1], counted .. string.format('|%.0f 0 0 0', till), 'PX',
    math.max(ARGV[1], redis.call('PTTL', KEYS[1])))
redis.call('ZADD', KEYS[2], string.format('%.0f', till), KEYS[1])
redis.call('PEXPIRE', KEYS[2], math.max(ARGV[1], redis.call('PTTL', KEYS[2])))
"""
UNBLOCK = b"""
redis.call('ZREM', KEYS[2], KEYS[1])
redis.call('DEL', KEYS[1])
"""
# The ARGV[1] keys that are blocked longest, each with the end of its block. A key without a value was
# evicted, which ended its block.
BLOCKED = b"""
local t = redis.call('TIME')
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', t[1] * 1000000 + t[2]))
local found, reply = redis.call('ZREVRANGE', KEYS[1], 0, ARGV[1] - 1, 'WITHSCORES'), {}
for i = 1, #found, 2 do
  if redis.call('EXISTS', found[i]) == 1 then
    reply[#reply + 1] = found[i]
    reply[#reply + 1] = found[i + 1]
  end
end
return reply
"""
# The numbers by which `limits.lua` knows the algorithms; it raises an error for any other number.
_ALGORITHMS: Mapping[Algorithm, int] = {"token_bucket": 0, "sliding_window": 1, "fixed_window": 2}
_MAX_ID_LENGTH = 128
# All keys share one hash tag, because a Valkey cluster runs a script only on keys of one slot.
TAG = "{synccash:rl}"
BLOCKED_KEYS = f"{TAG}:blocked"
"""The Valkey key of the sorted set of blocked keys. `limits.lua` names it too."""

Request = tuple[Sequence[Demand], str | None]
"""The demands of one request, and the `answer_key` under which its answer may be stored."""


def answer_key(scope: str, key: str) -> str:
    """Return the Valkey key of a stored answer, in the slot of the limits so that one script reads both."""
    return f"{TAG}:answer:{scope}:{key}"


def state_key(limit: Limit, id: str) -> str:  # noqa: A002
    """Return the Valkey key of one limit for one id; an id longer than 128 characters is hashed."""
    return _limit_terms(limit)[1] + _bounded_id(id)


def decode_blocked(reply: Sequence[bytes]) -> list[BlockedKey]:
    """Return the keys of a reply of `BLOCKED`."""
    found: list[BlockedKey] = []
    for name, until in zip(reply[::2], reply[1::2], strict=True):
        scope, policy, id = name.decode().removeprefix(f"{TAG}:").split(":", 2)  # noqa: A001
        found.append(BlockedKey(f"{scope}:{policy}", id, int(float(until))))
    return found


def encode_requests(requests: Sequence[Request], now_us: int | None = None) -> list[bytes | str | int]:
    """Return `numkeys key… arg…`, as EVAL takes them after the script.

    `now_us` replaces the server's clock in tests. At least one request must have a demand or an answer key.
    """
    states: dict[str, int] = {}
    # Holds each term, because Python may reuse the id() of an object that was freed.
    term_starts: dict[int, tuple[int, _Term]] = {}
    answers: list[str] = []
    terms: list[int] = []
    encoded: list[int] = []
    for demands, answer in requests:
        if answer is None:
            encoded += (len(demands), 0)
        else:
            answers.append(answer)
            encoded += (len(demands), len(answers))
        for demand in demands:
            _, prefix, terms_by_cost = _LIMIT_TERMS.get(id(demand.limit)) or _limit_terms(demand.limit)
            term = terms_by_cost.get(demand.cost) or _encode_term(demand.limit, demand.cost)
            start = term_starts.get(id(term))
            if start is None:
                start = term_starts[id(term)] = len(terms), term
                terms += term
            name = demand.id
            if len(name) > _MAX_ID_LENGTH:
                name = _bounded_id(name)
            encoded += (start[0], states.setdefault(prefix + name, len(states) + 1))
    now = b"" if now_us is None else now_us
    return [len(states) + len(answers), *states, *answers, now, len(states), _pack(terms), _pack(encoded)]


def decode_reply(reply: list[Any], requests: Sequence[Request]) -> list[Decision]:
    """Return the decisions of the script's reply, in the order of the requests."""
    now, at = reply[0], 1
    decisions: list[Decision] = []
    for demands, answer_key in requests:
        short_form, answer = reply[at], None
        at += 1
        if answer_key is not None:
            answer = reply[at]
            at += 1
        if short_form:
            statuses: list[LimitStatus] = []
            for demand in demands:
                limit, left = demand.limit, reply[at] - now
                at += 1
                room = (limit.full_us - left) // limit.unit_us
                # Five statuses take 2.2 µs to decode, and 3.1 µs with LimitStatus().
                statuses.append(
                    make_namedtuple(LimitStatus, (demand, False, room if room > 0 else 0, 0, left, 0))
                )
            decisions.append(make_namedtuple(Decision, (True, tuple(statuses), answer, False, 0)))
            continue
        allowed, newly_blocked = reply[at], reply[at + 1]
        at += 2
        end = at + 5 * len(demands)
        checked = tuple(
            LimitStatus(demand, bool(reply[at]), reply[at + 1], reply[at + 2], reply[at + 3], reply[at + 4])
            for at, demand in zip(range(at, end, 5), demands, strict=True)
        )
        at = end
        decisions.append(Decision(bool(allowed), checked, answer, newly_blocked=newly_blocked))
    return decisions


_pack = msgspec.msgpack.Encoder().encode

_Term = tuple[int, ...]
# Encoding five demands takes 4.4 µs, without this cache 11 µs. By id(), because hashing a frozen dataclass
# costs more than the cache saves. Each entry holds its limit, so that the id stays valid.
_LIMIT_TERMS: dict[int, tuple[Limit, str, dict[int, _Term]]] = {}
_MAX_LIMITS = 1_000
_MAX_COSTS = 1_000


def _limit_terms(limit: Limit) -> tuple[Limit, str, dict[int, _Term]]:
    """Return the limit, the prefix of its Valkey keys, and its encoded terms by cost."""
    cached = _LIMIT_TERMS.get(id(limit))
    if cached is None:
        if len(_LIMIT_TERMS) >= _MAX_LIMITS:
            _LIMIT_TERMS.clear()
        cached = _LIMIT_TERMS[id(limit)] = limit, f"{TAG}:{limit.key}:", {}
    return cached


def _encode_term(limit: Limit, cost: int) -> _Term:
    match limit.algorithm:
        case "token_bucket":
            unit, bucket_cost, bucket_size = limit.unit_us, cost * limit.unit_us, limit.full_us
        case "sliding_window" | "fixed_window":
            unit, bucket_cost, bucket_size = limit.period_us, 0, -1
        case _:
            assert_never(limit.algorithm)
    block = limit.block
    term = (
        bucket_cost,
        bucket_size,
        # A repeat starts no second payment, so the user's quota does not count it. The other limits protect
        # the service, and a repeat is work like any other request: if it were free, one stored answer would
        # be a way around the limits of the key, the address and of all requests.
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
    terms = _limit_terms(limit)[2]
    if len(terms) >= _MAX_COSTS:
        terms.clear()
    terms[cost] = term
    return term


def _bounded_id(id: str) -> str:  # noqa: A002
    return id if len(id) <= _MAX_ID_LENGTH else sha256(id.encode()).hexdigest()
