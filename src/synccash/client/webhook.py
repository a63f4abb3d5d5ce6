"""Verifies the signature of a webhook by the Standard Webhooks scheme (HMAC-SHA256 over id, time and body),
and answers the challenge of a new endpoint."""

import base64
import hmac
import json
import time
from collections.abc import Callable, Mapping

from synccash.client.decoding import UnreadableError, member
from synccash.client.errors import WebhookVerificationError
from synccash.client.events import Event

TOLERANCE_S = 300
_KEY_AT_LEAST = 24
"""The minimum length in bytes (Standard Webhooks). It rejects the empty key of an unset setting, with which
anyone could sign."""


def verify_webhook(
    body: bytes, headers: Mapping[str, str], secret: str, *, now: Callable[[], float] = time.time
) -> Event:
    """Return the event if the body was signed with `secret` (`whsec_…`) within five minutes of now.

    `body` must be the raw bytes of the request. An event may be delivered twice: store its `id`. After a
    rotation, the old secret and the new one are both valid for a day. Raises WebhookVerificationError.
    """
    named = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, moment = named["webhook-id"], named["webhook-timestamp"]
        given = named["webhook-signature"]
    except KeyError as missing:
        raise WebhookVerificationError(f"the header {missing.args[0]} is missing") from None
    if not (moment.isascii() and moment.isdigit() and len(moment) < 16):
        raise WebhookVerificationError("webhook-timestamp is not a number of seconds")
    if abs(now() - int(moment)) > TOLERANCE_S:
        raise WebhookVerificationError("webhook-timestamp is not within five minutes of this machine's clock")
    key = _key(secret)
    signed = b".".join((message_id.encode(), moment.encode(), body))
    expected = b"v1," + base64.b64encode(hmac.digest(key, signed, "sha256"))
    if not any(hmac.compare_digest(expected, one.encode()) for one in given.split(" ")):
        raise WebhookVerificationError("no signature fits: another secret, or a body that was changed")
    try:
        return Event.of(json.loads(body))
    except (UnreadableError, ValueError) as error:
        raise WebhookVerificationError(f"it is signed, and it is no event: {error}") from None


def answer_challenge(event: Event) -> bytes | None:
    """Return the JSON body that proves that this server is the endpoint's; None for any other event.

    A new endpoint, or one with a new URL, gets the event `endpoint.verification` first: verify it as any
    other, then respond with 200 and this body.
    """
    if event.type != "endpoint.verification":
        return None
    return json.dumps({"challenge": member(member(event.raw["data"], "object"), "challenge")}).encode()


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        raise WebhookVerificationError("the secret is not whsec_ and base64; copy it anew") from None
    if len(key) < _KEY_AT_LEAST:
        raise WebhookVerificationError("the secret is empty or cut short; copy it anew")
    return key
