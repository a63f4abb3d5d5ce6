"""The `webhooks` of the OpenAPI document: for each event type its headers, payload and example."""

from collections.abc import Mapping
from typing import Any

import msgspec

from synccash.api.openapi.examples import ANSWER_EXAMPLES, EVENT
from synccash.api.schemas.answers import (
    ChallengedEndpointShown,
    DisabledEndpointShown,
    EventShown,
    PaymentShown,
    PayoutShown,
    RailShown,
    RefundShown,
)
from synccash.payments.webhook import ENDPOINT_VERIFICATION, EVENT_TYPES, GIVE_UP_AFTER

EVENT_OBJECTS: Mapping[str, type[msgspec.Struct]] = {
    "payment": PaymentShown,
    "refund": RefundShown,
    "payout": PayoutShown,
    "rail": RailShown,
    "webhook_endpoint": DisabledEndpointShown,
    "endpoint": ChallengedEndpointShown,
}
"""The schema of `data.object`, by the part of an event type before the dot."""

_CHANGED: Mapping[str, Mapping[str, Any]] = {
    "processing": {"status": "processing", "status_detail": "awaiting_payer"},
    "requires_action": {
        "status": "requires_action",
        "next_action": {"type": "submit_otp", "display_text": "Enter the code from the SMS."},
    },
    "succeeded": {"status": "succeeded"},
    "failed": {
        "status": "failed",
        "last_error": {
            "code": "provider_error",
            "category": "provider",
            "message": "The provider ended the request with an error of its own.",
            "whose_problem": "provider",
            "provider_code": "INTERNAL_PROCESSING_ERROR",
        },
    },
    "canceled": {"status": "canceled"},
    "contradiction": {"status_detail": "under_review"},
    "degraded": {"status": "degraded", "reason": "breaker_open"},
    "recovered": {"status": "healthy", "reason": "health"},
    "disabled": {"status": "disabled"},
    "verification": {"status": "pending"},
}
"""What an example has of the event, by the part of its type after the dot."""

_ATTEMPT: Mapping[str, Mapping[str, Any]] = {
    "processing": {"state": "acknowledged", "provider_code": None},
    "requires_action": {"state": "acknowledged", "provider_code": None},
    "failed": {"state": "declined", "provider_code": "INTERNAL_PROCESSING_ERROR"},
}
"""What the attempt of an example has where no money has moved. A canceled payment has no attempt."""
_NOT_RECEIVED: Mapping[str, Any] = {"amount_received": 0, "provider_transaction_id": None}

_MEANINGS: Mapping[str, str] = {
    "payment.processing": "The payment was sent to a rail, and its outcome is not known yet.",
    "payment.requires_action": "The payer has to do what `next_action` says.",
    "payment.succeeded": "The payer has paid. Deliver.",
    "payment.failed": "The payment failed and no money moved; `last_error` says why.",
    "payment.canceled": "The payment was canceled before any money could move.",
    "payment.contradiction": "The rail has contradicted itself; a person checks the payment. Do not act.",
    "refund.processing": "The refund was created, and its outcome is not known yet.",
    "refund.succeeded": "The payer has the money back.",
    "refund.failed": "The refund failed and no money moved; `last_error` says why.",
    "refund.contradiction": "The rail has contradicted itself; a person checks the refund. Do not act.",
    "payout.processing": "The payout was created, and its outcome is not known yet.",
    "payout.succeeded": "The payee has the money.",
    "payout.failed": "The payout failed and no money moved; `last_error` says why.",
    "payout.contradiction": "The rail has contradicted itself; a person checks the payout. Do not act.",
    "rail.degraded": "A rail fails or is slow; orders use other rails where there are any.",
    "rail.recovered": "A rail works again.",
    "webhook_endpoint.disabled": "Another endpoint of yours was disabled, because it failed for too long.",
    ENDPOINT_VERIFICATION: "Prove that the endpoint is yours: answer 200 with the challenge. It is sent to a "
    "pending endpoint, whichever types that subscribes to.",
}

_HEADERS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "webhook-id": (
        "The id of the event; it is the same for each try",
        {"type": "string", "pattern": "^evt_[0-9a-z]+$"},
    ),
    "webhook-timestamp": (
        "When this try was signed, in Unix seconds. Refuse one that is more than 5 minutes off",
        {"type": "string", "pattern": "^[0-9]+$"},
    ),
    "webhook-signature": (
        "One or two signatures by Standard Webhooks, separated by a space: v1, and the base64 HMAC-SHA256 of "
        "id.timestamp.body. During a rotation one is by the former secret",
        {"type": "string", "pattern": "^v1,[0-9A-Za-z+/=]+(?: v1,[0-9A-Za-z+/=]+)*$"},
    ),
}


def webhooks() -> dict[str, Any]:
    """Return the Path Item of each event type. Raises KeyError for a type that has no meaning here."""
    return {
        event_type: {"post": _request(event_type)} for event_type in (*EVENT_TYPES, ENDPOINT_VERIFICATION)
    }


def webhook_example(event_type: str) -> dict[str, Any]:
    """Return an example of the body of an event."""
    kind, _, change = event_type.partition(".")
    example: dict[str, Any] = {**ANSWER_EXAMPLES[EVENT_OBJECTS[kind].__name__], **_CHANGED[change]}
    if "attempts" in example and (change in _ATTEMPT or change == "canceled"):
        attempts = [{**one, **_ATTEMPT[change]} for one in example["attempts"] if change in _ATTEMPT]
        unpaid = {**_NOT_RECEIVED, "attempts": attempts, "attempt_count": len(attempts)}
        example |= {name: value for name, value in unpaid.items() if name in example}
    return {**EVENT, "type": event_type, "data": {"object": example}}


def _request(event_type: str) -> dict[str, Any]:
    kind = EVENT_OBJECTS[event_type.partition(".")[0]].__name__
    payload = {
        "allOf": [
            {"$ref": f"#/components/schemas/{EventShown.__name__}"},
            {
                "properties": {
                    "type": {"const": event_type},
                    "data": {
                        "properties": {"object": {"$ref": f"#/components/schemas/{kind}"}},
                        "required": ["object"],
                    },
                },
            },
        ]
    }
    hours = GIVE_UP_AFTER.total_seconds() / 3_600
    return {
        "tags": ["webhooks"],
        "operationId": f"webhook.{event_type}",
        "summary": event_type,
        "description": f"{_MEANINGS[event_type]} Events can come twice and in another order: compare "
        "`object_version`.",
        "security": [],
        "parameters": [
            {"name": name, "in": "header", "required": True, "description": text, "schema": schema}
            for name, (text, schema) in _HEADERS.items()
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": payload,
                    "examples": {"event": {"value": webhook_example(event_type)}},
                }
            },
        },
        "responses": {
            "2XX": {"description": "The event is delivered"},
            "410": {"description": "The endpoint is disabled; nothing more is sent to it"},
            "default": {
                "description": f"The event is sent again, at growing intervals, for {hours:.0f} hours. "
                "Redirects are not followed"
            },
        },
    }
