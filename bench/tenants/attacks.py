"""What the hostile merchant sends: the requests of each attack, ready for the wire."""

import base64
import itertools
import random
import string
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.payment_requests import pay, payer_number, request
from synccash.rails.registry import RAILS

BODY_BYTES = 65_536
"""The largest body that the API reads."""
_MEMBERS = 8_000


@dataclass(frozen=True, slots=True)
class Target:
    """What an attack knows: keys by name, and payments of the attacker that wait for a one-time password."""

    keys: Mapping[str, str]
    waiting: Sequence[str]


@dataclass(frozen=True, slots=True)
class Attack:
    """`requests` yields whole HTTP requests, sent at `per_s` from `addresses` addresses, `at_once` together.

    `dribble_s`: sends the body byte by byte with this pause. `tarpit`: the merchant whose webhook endpoints
    hang meanwhile, or whose name server is silent.
    """

    what: str
    per_s: float
    requests: Callable[[Target], Iterator[bytes]]
    addresses: int = 1
    at_once: int = 1
    dribble_s: float | None = None
    tarpit: str | None = None


def _bodies(target: Target) -> Iterator[bytes]:
    """Bodies of the largest size: 8,000 members, the last one twice, and arrays nested 30,000 deep."""
    letters = string.ascii_letters + string.digits
    names = ["".join(name) for name in itertools.islice(itertools.product(letters, repeat=3), _MEMBERS)]
    members = ",".join(f'"{name}":1' for name in (*names, names[-1]))
    wide = f"{{{members}}}".encode()
    deep = b'{"amount":' + b"[" * 30_000 + b"]" * 30_000 + b"}"
    assert max(len(wide), len(deep)) <= BODY_BYTES
    while True:
        for body in (wide, deep):
            yield request(
                "POST", "/api/v1/payments", target.keys["mallory"], body, Idempotency_Key=uuid.uuid4().hex
            )


def _payments_of(merchant: str, prefix: str) -> Callable[[Target], Iterator[bytes]]:
    """Payments with a payer and a user of their own each."""

    def requests(target: Target) -> Iterator[bytes]:
        for number in itertools.count(random.randrange(2_000_000)):
            yield pay(target.keys[merchant], payer_number(prefix, number), X_User_Id=f"user-{number}")

    return requests


def _guess_otp(target: Target) -> Iterator[bytes]:
    for number in itertools.count():
        payment_id = target.waiting[number % len(target.waiting)]
        guess = {"otp": f"{number % 1_000_000:06d}"}
        yield request("POST", f"/api/v1/payments/{payment_id}/otp", target.keys["mallory"], guess)


def _callbacks(_target: Target) -> Iterator[bytes]:
    """Callbacks with invented tokens: of the form of ours, of former releases, and of 2,000 characters."""
    body = {"status": "SUCCESSFUL", "amount": "100", "financialTransactionId": "1"}
    for number in itertools.count():
        rail = tuple(RAILS)[number % len(RAILS)]
        token = (uuid.uuid4().hex, uuid.uuid4().hex * 2, "x" * 2_000)[number % 3]
        yield request(("PUT", "POST")[number % 2], f"/api/v1/callbacks/{rail}/{token}", None, body)


def _one_wallet(target: Target) -> Iterator[bytes]:
    for number in itertools.count():
        yield pay(target.keys["mallory"], "0551112222", X_User_Id=f"user-{number}")


def _guess_keys(_target: Target) -> Iterator[bytes]:
    while True:
        yield request("GET", "/api/v1/payments", f"sk_live_{uuid.uuid4().hex}{uuid.uuid4().hex[:16]}")


def _queries(target: Target) -> Iterator[bytes]:
    """Cursors and query parameters that make no sense."""
    cursors = [
        base64.urlsafe_b64encode(text.encode()).decode()
        for text in ("9999-12-31T23:59:59+00:00 pay_1", "0001-01-01T00:00:00+14:00 x", "NaN pay_1", "{" * 900)
    ]
    queries = [
        *(f"after={cursor}" for cursor in cursors),
        "limit=99999999999999999999",
        "limit=-1",
        "status=" + "x" * 4_000,
        "payer=%00%ff%fe",
        "&".join(f"p{number}={number}" for number in range(500)),
        "reference=" + "%27" * 1_000,
    ]
    for number in itertools.count():
        path = ("/api/v1/payments", "/api/v1/events")[number % 2]
        yield request("GET", f"{path}?{queries[number % len(queries)]}", target.keys["mallory"])


def _lists(target: Target) -> Iterator[bytes]:
    """The longest pages of payments and events."""
    for path in itertools.cycle(("/api/v1/payments?limit=100", "/api/v1/events?limit=100")):
        yield request("GET", path, target.keys["mallory"])


def _duplicates(target: Target) -> Iterator[bytes]:
    """One request under one idempotency key, again and again, also while the first one is under way."""
    number = random.randrange(2_000_000)
    same = pay(target.keys["mallory"], payer_number("055", number))
    while True:
        yield same


def _slow(target: Target) -> Iterator[bytes]:
    for number in itertools.count(random.randrange(2_000_000)):
        yield pay(target.keys["mallory"], payer_number("059", number))


ATTACKS: Mapping[str, Attack] = {
    "bodies": Attack("64 KiB bodies, 8,000 members or 30,000 levels", 10, _bodies),
    "endpoints": Attack(
        "16 webhook endpoints that hang, and events", 2, _payments_of("hanging", "057"), tarpit="hanging"
    ),
    "dns": Attack(
        "16 endpoints at a silent name server, and events", 2, _payments_of("silent", "053"), tarpit="silent"
    ),
    "otp": Attack("guesses of one-time passwords", 20, _guess_otp),
    "callbacks": Attack("callbacks with invented tokens", 300, _callbacks, addresses=32),
    "one_wallet": Attack("payments of one wallet, another X-User-Id each", 20, _one_wallet),
    "many_wallets": Attack("payments of many wallets and users", 10, _payments_of("mallory", "054")),
    "bursts": Attack("50 payments at the same moment", 25, _payments_of("mallory", "054"), at_once=50),
    "keys": Attack("unknown API keys", 100, _guess_keys, addresses=32),
    "queries": Attack("senseless cursors and queries", 30, _queries),
    "lists": Attack("pages of 100 objects", 10, _lists),
    "duplicates": Attack("one idempotency key", 30, _duplicates),
    "slow": Attack("bodies of one byte a second", 10, _slow, dribble_s=1.0),
}
"""Each attack with its rate: bounded, so that the attacker's own CPU is not what delays the others."""
