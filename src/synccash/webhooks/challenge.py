"""Challenges that an endpoint answers to prove its ownership. See
docs/decisions/0030-endpoint-ownership.md."""

import hmac
import secrets

import msgspec

from synccash.payments.case import Event
from synccash.payments.ports import Identities
from synccash.payments.webhook import Challenge


class _Answer(msgspec.Struct):
    challenge: str


class _Challenged(msgspec.Struct):
    challenge: str


def new_challenge(identities: Identities) -> Challenge:
    """Return a new challenge with 256 random bits."""
    return Challenge(identities.new("evt"), secrets.token_urlsafe(32))


def answers_challenge(event: Event, body: bytes) -> bool:
    """Return True if the body of a response repeats the event's challenge: as JSON `{"challenge": "…"}`, or
    as plain text. A server that returns each request's body does not pass."""
    expected = msgspec.json.decode(event.data, type=_Challenged).challenge
    try:
        given = msgspec.json.decode(body, type=_Answer).challenge
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        given = body.decode("utf-8", "replace").strip()
    return hmac.compare_digest(given.encode(), expected.encode())
