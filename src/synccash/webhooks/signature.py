"""Signs webhooks by the Standard Webhooks scheme, with every secret of the endpoint that is valid now."""

import base64
import secrets
from collections.abc import Sequence
from datetime import datetime

from standardwebhooks import Webhook

from synccash.payments.webhook import WebhookSecret


def new_secret() -> str:
    """Return a new random signing secret of 256 bits."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def is_secret(text: str) -> bool:
    """Return whether a text is `whsec_` and base64, as signatures need it."""
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except ValueError:
        return False
    return text.startswith("whsec_") and bool(key)


def signed_headers(
    event_id: str, body: bytes, signing: Sequence[WebhookSecret], *, now: datetime
) -> dict[str, str]:
    """Return the headers of one request. A rotated secret signs beside the new one until it expires."""
    valid = [secret for secret in signing if secret.until is None or secret.until > now]
    text = body.decode()
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(Webhook(s.text).sign(event_id, now, text) for s in valid),
        "Content-Type": "application/json",
    }
