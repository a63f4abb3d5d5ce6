"""Is this webhook ours? (Standard Webhooks: HMAC-SHA256 over id, time and body.)"""

import base64
import binascii
import hmac
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from synccash.client.errors import WebhookVerificationError

TOLERANCE_S = 300


def verify_webhook(
    body: bytes, headers: Mapping[str, str], secret: str, *, now: Callable[[], float] = time.time
) -> dict[str, Any]:
    """Return the event when the body was signed with `secret` (`whsec_…`) within the last five minutes.

    `body` has to be the raw bytes as they came. An event may come twice: keep its `id`. Raises
    WebhookVerificationError.
    """
    named = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, moment = named["webhook-id"], named["webhook-timestamp"]
        given = named["webhook-signature"]
    except KeyError as missing:
        raise WebhookVerificationError(f"the header {missing.args[0]} is missing") from None
    if not (moment.isascii() and moment.isdigit()) or abs(now() - int(moment)) > TOLERANCE_S:
        raise WebhookVerificationError("webhook-timestamp is not within five minutes of this machine's clock")
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        raise WebhookVerificationError("the secret is not whsec_ and base64; copy it anew") from None
    signed = b".".join((message_id.encode(), moment.encode(), body))
    expected = "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    if not any(hmac.compare_digest(expected.encode(), one.encode()) for one in given.split(" ")):
        raise WebhookVerificationError("no signature fits: another secret, or a body that was changed")
    event: dict[str, Any] = json.loads(body)
    return event
