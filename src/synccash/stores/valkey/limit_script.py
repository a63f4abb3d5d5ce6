"""How a decision travels: arguments of `limits.lua`, and what its answer means."""

from collections.abc import Sequence
from hashlib import sha1, sha256
from importlib.resources import files
from typing import Any

from synccash.resilience.rate_limiter import Decision, Demand, Limit, Standing

SOURCE = files("synccash.stores.valkey").joinpath("limits.lua").read_bytes()
DIGEST = sha1(SOURCE, usedforsecurity=False).hexdigest().encode()
_ALGORITHMS = {"token_bucket": b"t", "sliding_window": b"s", "fixed_window": b"f"}
_LONGEST_ID = 128
# One hash tag for all: what one script touches has to live on one node of a cluster.
TAG = "{synccash:rl}"


def answer_key(scope: str, key: str) -> str:
    """Where a stored answer has to be kept so that a decision can bring it along."""
    return f"{TAG}:answer:{scope}:{key}"


def state_key(limit: Limit, id: str) -> str:  # noqa: A002
    """The key of one limit for one id; a long id is hashed. The penalty is beside it, at `:p`."""
    if len(id) > _LONGEST_ID:
        id = sha256(id.encode()).hexdigest()  # noqa: A001
    return f"{TAG}:{limit.scope}:{id}:{limit.name}"


def arguments(
    demands: Sequence[Demand], answer: str | None, now_us: int | None = None
) -> list[bytes | str | int]:
    """`numkeys key… arg…`, as they follow the script. `now_us` replaces the server's clock, for tests."""
    keys: list[bytes | str | int] = []
    values: list[bytes | str | int] = [b"" if now_us is None else now_us, len(demands)]
    for demand in demands:
        key = state_key(demand.limit, demand.id)
        keys += (key, key + ":p")
        quick, capacity, waived, rest = _encoded(demand.limit)
        values += (quick, capacity, demand.cost, waived, rest)
    if answer is not None:
        keys.append(answer)
    return [len(keys), *keys, *values]


def decision(reply: list[Any], demands: Sequence[Demand]) -> Decision:
    """The script's answer as a value."""
    return Decision(
        bool(reply[1]),
        tuple(
            Standing(one, bool(reply[at]), reply[at + 1], reply[at + 2], reply[at + 3], reply[at + 4])
            for at, one in zip(range(4, len(reply), 5), demands, strict=True)
        ),
        answer=reply[2],
        newly_blocked=reply[3],
    )


_Encoded = tuple[bytes, bytes, bytes, bytes]
# By identity: hashing a frozen value costs more than what is saved. Limits are few and live for ever.
_known: dict[int, tuple[Limit, _Encoded]] = {}
_MOST_KNOWN = 1_000


def _encoded(limit: Limit) -> _Encoded:
    known = _known.get(id(limit))
    if known is not None:
        return known[1]
    bucket = limit.algorithm == "token_bucket"
    unit = limit.unit_us if bucket else limit.period_us
    block = limit.block
    numbers = (
        (0, 0, 0, 0)
        if block is None
        else (block.violations, block.window_us, block.duration_us, block.cap_us)
    )
    encoded = (
        b"%d" % unit if bucket and not limit.shadow else b"",
        b"%d" % limit.capacity,
        # An answer that is stored already costs no user quota.
        b"1" if limit.scope == "user" else b"0",
        b"%c %d %d %d %d %d %d" % (_ALGORITHMS[limit.algorithm], unit, limit.shadow, *numbers),
    )
    if len(_known) >= _MOST_KNOWN:
        _known.clear()
    _known[id(limit)] = limit, encoded
    return encoded
