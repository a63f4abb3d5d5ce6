"""The examples of the OpenAPI document: one for each request body and each answer, by the schema's name."""

from collections.abc import Mapping
from typing import Any

from synccash.payments.causes import Cause, CauseCode
from synccash.payments.history import DURATION_BOUNDS_S, SUCCESS_GOAL

_ID = "01jb3k8v7m2q4r6t8w0y1z3a5c"
_PAYMENT_ID, _REFUND_ID, _PAYOUT_ID = f"pay_{_ID}", f"re_{_ID}", f"po_{_ID}"
_CREATED, _UPDATED, _EXPIRES = (
    "2026-03-02T09:15:00.125Z",
    "2026-03-02T09:15:12.480Z",
    "2026-03-02T09:30:00.125Z",
)
_MERCHANT = "mer_01ja0d4f6g8h0j2k4m6n8p0q2r"
_RECONCILIATION: Mapping[str, Any] = {
    "id": f"rec_{_ID}",
    "at": _UPDATED,
    "rail": "mtn_momo",
    "file": "statement-2026-03-01.csv",
    "actor": "database:synccash",
    "is_clean": False,
    "counts": {"rows": 1820, "matched": 1819, "missing": 1, "from": _CREATED, "to": _UPDATED},
}
_TIMEOUT = Cause(CauseCode.TIMEOUT)

REQUEST_EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "PaymentBody": {
        "amount": 2500,
        "currency": "GHS",
        "payer": {"msisdn": "0241234567"},
        "reference": "order-1001",
        "description": "Two crates of mangoes",
        "metadata": {"basket": "b-17"},
    },
    "PayoutBody": {
        "amount": 1500,
        "currency": "GHS",
        "payee": {"msisdn": "0241234567", "name": "Ama Mensah"},
        "reference": "salary-2026-03-ama",
    },
    "RefundBody": {"amount": 500, "reason": "One crate was broken"},
    "PasswordBody": {"otp": "123456"},
    "DecisionBody": {"reason": "The merchant has sent the invoice"},
    "ReasonBody": {"reason": "The provider says that it works again"},
    "BlockBody": {"duration": 3600, "reason": "It tries numbers one after another"},
    "ResolutionBody": {"outcome": "succeeded", "evidence": "Line 118 of the provider's statement of 2 March"},
    "PaymentResolutionBody": {
        "outcome": "succeeded",
        "evidence": "Line 118 of the provider's statement of 2 March",
    },
    "EndpointBody": {
        "url": "https://shop.example/webhooks",
        "types": ["payment.succeeded", "payment.failed"],
    },
    "EndpointChangeBody": {"rotate_secret": True},
    "SignInBody": {"name": "ama.mensah", "password": "a long password of hers", "totp": "492039"},
    "EnrolBody": {"name": "ama.mensah", "code": "k7Qm2Xc9", "password": "a long password of hers"},
    "PasswordChangeBody": {
        "password": "a long password of hers",
        "totp": "492039",
        "new_password": "another long password",
    },
    "OperatorBody": {"name": "kofi.owusu", "role": "operator", "reason": "New on the support desk"},
    "OperatorRoleBody": {"role": "viewer", "reason": "Left the support desk"},
    "OperatorTokenBody": {"name": "nightly report", "days": 90},
    "MerchantBody": {"name": "Mango Market"},
    "ApiKeyBody": {
        "merchant_id": _MERCHANT,
        "livemode": False,
        "name": "web shop",
        "scopes": ["payments:read", "payments:write"],
    },
    "KeyRotationBody": {"overlap_s": 86_400},
    "CreditBody": {
        "merchant_id": _MERCHANT,
        "livemode": False,
        "currency": "GHS",
        "amount": 250_000,
        "reason": "Prefunded by transfer",
        "key": "transfer-118",
    },
    "OperatorRefundBody": {"reason": "The shop has closed", "amount": 500, "key": "ticket-4711"},
    "RoutingRulesBody": {"preferences": "*: mtn_momo", "costs": "mtn_momo: 1%"},
    "WebhookRecoveryBody": {
        "livemode": False,
        "since": "2026-03-02T06:00:00Z",
        "reason": "Their server was down until 9",
    },
    "CreditConfirmationBody": {
        "merchant_id": _MERCHANT,
        "livemode": False,
        "currency": "GHS",
        "credit": 0,
        "reason": "Compared with the books",
    },
}

_ROUTING: Mapping[str, Any] = {
    "chosen": "mtn_momo",
    "considered": [
        {"rail": "mtn_momo", "score": 1.0},
        {"rail": "hubtel", "score": 0.94},
        {"rail": "paystack", "score": 0.0, "skipped": "breaker_open"},
    ],
    "reason": "best_score",
}


def _attempt(operation: str) -> Mapping[str, Any]:
    return {
        "id": f"att_{_ID}",
        "object": "attempt",
        "rail": "mtn_momo",
        "operation": operation,
        "reference": "8f2c1c1e-3f0b-4c0e-9a51-6c1e0a4d7b22",
        "state": "succeeded",
        "evidence": "accepted",
        "started_at": _CREATED,
        "latency_ms": 231,
        "provider_code": "SUCCESSFUL",
        "error": None,
        "retry_decision": None,
    }


_PAYMENT: Mapping[str, Any] = {
    "id": _PAYMENT_ID,
    "object": "payment",
    "merchant_id": _MERCHANT,
    "reference": "order-1001",
    "amount": 2500,
    "currency": "GHS",
    "status": "succeeded",
    "status_detail": None,
    "amount_received": 2500,
    "amount_refunded": 0,
    "payer": {"msisdn": "233241234567", "network": "mtn"},
    "rail": "mtn_momo",
    "provider_transaction_id": "23503452",
    "routing": _ROUTING,
    "next_action": None,
    "last_error": None,
    "attempt_count": 1,
    "attempts": [_attempt("collect")],
    "description": "Two crates of mangoes",
    "expires_at": _EXPIRES,
    "created_at": _CREATED,
    "updated_at": _UPDATED,
    "version": 3,
    "metadata": {"basket": "b-17"},
    "livemode": False,
}
_REFUND: Mapping[str, Any] = {
    "id": _REFUND_ID,
    "object": "refund",
    "merchant_id": _MERCHANT,
    "payment_id": _PAYMENT_ID,
    "amount": 500,
    "currency": "GHS",
    "status": "succeeded",
    "status_detail": None,
    "reason": "One crate was broken",
    "rail": "mtn_momo",
    "attempts": [_attempt("refund")],
    "last_error": None,
    "created_at": _CREATED,
    "updated_at": _UPDATED,
    "version": 2,
    "livemode": False,
}
_PAYOUT: Mapping[str, Any] = {
    "id": _PAYOUT_ID,
    "object": "payout",
    "merchant_id": _MERCHANT,
    "reference": "salary-2026-03-ama",
    "amount": 1500,
    "currency": "GHS",
    "status": "succeeded",
    "status_detail": None,
    "payee": {"msisdn": "233241234567", "network": "mtn", "name": "Ama Mensah"},
    "rail": "mtn_momo",
    "provider_transaction_id": "23503981",
    "routing": _ROUTING,
    "last_error": None,
    "attempts": [_attempt("payout")],
    "description": None,
    "expires_at": "2026-03-03T09:15:00.125Z",
    "created_at": _CREATED,
    "updated_at": _UPDATED,
    "version": 2,
    "metadata": {},
    "livemode": False,
}
EVENT: Mapping[str, Any] = {
    "id": f"evt_{_ID}",
    "object": "event",
    "type": "payment.succeeded",
    "created_at": _UPDATED,
    "object_version": 3,
    "data": {"object": _PAYMENT},
}
"""An event; the example of a webhook changes its type and its object."""
_ENDPOINT: Mapping[str, Any] = {
    "id": f"we_{_ID}",
    "object": "webhook_endpoint",
    "url": "https://shop.example/webhooks",
    "types": ["payment.succeeded", "payment.failed"],
    "status": "enabled",
    "disabled_reason": None,
    "created_at": _CREATED,
    "updated_at": _CREATED,
    "livemode": False,
    "secret": None,
}
_STATISTICS: Mapping[str, Any] = {
    "name": "mtn_momo:collect",
    "state": "open",
    "reason": "12 of 20 calls failed",
    "retry_after": 18.4,
    "successes": 4102,
    "failures": 37,
    "ignored": 9,
    "blocked": 210,
    "in_a_row": 5,
    "window_calls": 20,
    "window_failures": 12,
    "window_slow": 3,
    "opened": 1,
    "rounds": 1,
    "probes_running": 0,
    "probes_succeeded": 0,
    "durations": [0, 0, 8, 640, 2410, 890, 120, 31, 8, 12, 20, 0],
    "seconds": 402.75,
    "last_failure": {
        "type": _TIMEOUT.code.value,
        "message": _TIMEOUT.message.removesuffix("."),
        "at": _CREATED,
        "action": _TIMEOUT.action,
    },
    "version": 0,
}
_BREAKER: Mapping[str, Any] = {
    "name": "mtn_momo:collect",
    "service": "mtn_momo",
    "operation": "collect",
    "state": "open",
    "retry_after": 18.4,
    "reason": "12 of 20 calls failed",
    "statistics": _STATISTICS,
    "instances": [
        {
            "instance": f"proc_{_ID}",
            "age_s": 0.0,
            "state": "open",
            "retry_after": 18.4,
            "reason": "12 of 20 calls failed",
            "statistics": _STATISTICS,
        }
    ],
}
_FLOAT: Mapping[str, Any] = {
    "rail": "mtn_momo",
    "currency": "GHS",
    "float": 1_250_000,
    "by_network": {},
    "alarm_below": 500_000,
    "is_low": False,
    "read_at": "2026-03-02T09:14:31+00:00",
    "age_s": 29.4,
    "error": None,
    "is_reported": True,
}


_APPROVAL: Mapping[str, Any] = {
    "object": "approval",
    "id": f"apr_{_ID}",
    "status": "pending",
    "action": "payment_resolve",
    "target": _PAYMENT_ID,
    "parameters": {"outcome": "succeeded"},
    "reason": "Line 118 of the provider's statement of 2 March",
    "requested_by": "ama.mensah",
    "requested_at": _CREATED,
    "expires_at": "2026-03-03T09:15:00.125Z",
    "decided_by": None,
    "decided_at": None,
    "decision_reason": None,
    "failure": None,
}


_KEY_ID, _NEW_KEY_ID = "key_9de9467691ab54ed", "key_c4a48823de7288c7"
_KEY_MEMBERS: Mapping[str, Any] = {
    "role": "merchant",
    "merchant_id": _MERCHANT,
    "name": "web shop",
    "scopes": ["payments:read", "payments:write"],
    "allowed_ips": ["203.0.113.0/24"],
}
_NEW_SECRET = "sk_test_…"  # noqa: S105 - no secret
_TOKEN: Mapping[str, Any] = {"id": f"ot_{_ID}", "token": "sk_operator_…", "expires_at": _EXPIRES}
_OPERATOR: Mapping[str, Any] = {
    "id": f"op_{_ID}",
    "name": "ama.mensah",
    "role": "admin",
    "enrolled": True,
    "failed_sign_ins": 0,
    "signed_in_at": _UPDATED,
    "disabled_at": None,
    "created_at": _CREATED,
    "created_by": "database:synccash",
}
_BALANCE: Mapping[str, Any] = {
    "object": "balance",
    "merchant_id": _MERCHANT,
    "livemode": False,
    "currency": "GHS",
    "available": 182_500,
    "reserved": 1_500,
    "collected": 250_000,
    "refunded": 15_000,
    "paid_out": 50_000,
    "credit": 0,
    "fees": 1_000,
}
_MADE_BY: Mapping[str, Any] = {"api_key_id": _KEY_ID, "request_id": f"req_{_ID}"}


def _listed(order: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """Return the members of an order that lists of operators have."""
    shared = ("id", "status", "status_detail", "amount", "currency", "rail", "created_at")
    return {**{name: order[name] for name in (*shared, *names)}, **_MADE_BY}


_LISTED_REFUND = {**_listed(_REFUND, "reason"), "surplus": False}


def _page(*objects: Mapping[str, Any], **more: Any) -> Mapping[str, Any]:
    return {"data": list(objects), "has_more": False, "next": None, **more}


ANSWER_EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "PaymentShown": _PAYMENT,
    "PaymentPage": _page(_PAYMENT, unreadable=[]),
    "RefundShown": _REFUND,
    "RefundPage": _page(_REFUND),
    "PayoutShown": _PAYOUT,
    "BalanceShown": _BALANCE,
    "TimelineShown": _page(
        {"at": _CREATED, "kind": "created", "amount": 2500},
        {"at": _CREATED, "kind": "routed", **_ROUTING},
        {"at": _CREATED, "kind": "sent", "attempt": f"att_{_ID}", "rail": "mtn_momo"},
    ),
    "EventPage": _page(EVENT),
    "RailShown": {
        "id": "mtn_momo:collect",
        "object": "rail",
        "rail": "mtn_momo",
        "operation": "collect",
        "status": "degraded",
        "reason": "breaker_open",
        "networks": {"mtn": 0.41},
        "since": _UPDATED,
        "version": 7,
    },
    "ApprovalShown": _APPROVAL,
    "ApprovalPage": _page(_APPROVAL),
    "ApprovedShown": {
        "approval": {
            **_APPROVAL,
            "status": "executed",
            "decided_by": "operator:kofi.owusu",
            "decided_at": _UPDATED,
            "decision_reason": "Compared with the statement",
        },
        "result": _PAYMENT,
    },
    "MerchantList": {
        "data": [
            {
                "id": _MERCHANT,
                "name": "Mango Market",
                "created_at": _CREATED,
                "suspended_since": None,
                "suspended_for": None,
            }
        ]
    },
    "NewMerchantShown": {"id": _MERCHANT, "name": "Mango Market"},
    "SuspensionShown": {"id": _MERCHANT, "suspended": True, "reason": "The merchant asked for it"},
    "InquiryShown": {"id": _PAYMENT_ID, "status": "processing", "status_detail": "outcome_unknown"},
    "ApiKeyList": {
        "data": [
            {
                "id": _KEY_ID,
                **_KEY_MEMBERS,
                "livemode": False,
                "created_at": _CREATED,
                "last_used_at": _UPDATED,
                "expires_at": None,
                "revoked_at": None,
                "replaced_by": None,
            }
        ]
    },
    "NewApiKeyShown": {"id": _KEY_ID, **_KEY_MEMBERS, "expires_in_s": None, "secret": _NEW_SECRET},
    "RotatedApiKeyShown": {
        "former_id": _KEY_ID,
        "former_expires_at": _EXPIRES,
        "id": _NEW_KEY_ID,
        **_KEY_MEMBERS,
        "livemode": False,
        "expires_at": None,
        "secret": _NEW_SECRET,
    },
    "RevokedApiKeyShown": {"id": _KEY_ID, "revoked": True},
    "BalanceList": {"data": [_BALANCE]},
    "GrantedCreditShown": {**_BALANCE, "available": 432_500, "credit": 250_000, "granted": 250_000},
    "ListedPaymentPage": _page(
        {
            **_listed(_PAYMENT, "merchant_id", "livemode", "reference", "attempt_count"),
            "payer_msisdn": "233241234567",
            "amount_received": 2500,
            "amount_refunded": 0,
        }
    ),
    "ListedPayoutPage": _page(
        {
            **_listed(_PAYOUT, "merchant_id", "livemode", "reference"),
            "attempt_count": 1,
            "payee_msisdn": "233241234567",
        }
    ),
    "WaitingList": {
        "data": [
            {
                "kind": "payment",
                "id": _PAYMENT_ID,
                "why": "under_review",
                "amount": 2500,
                "currency": "GHS",
                "rail": "mtn_momo",
                "merchant_id": _MERCHANT,
                "livemode": False,
                "since": _UPDATED,
                "next_look_at": None,
                "code": "PENDING",
            }
        ]
    },
    "HistoryShown": {
        "start": "2026-03-01T12:00:00Z",
        "end": "2026-03-01T13:00:00Z",
        "step_s": 60,
        "goal": SUCCESS_GOAL,
        "bounds_s": list(DURATION_BOUNDS_S),
        "data": [
            {
                "at": "2026-03-01T12:00:00Z",
                "livemode": False,
                "kind": "payment",
                "rail": "mtn_momo",
                "network": "mtn",
                "status": "succeeded",
                "failure_code": None,
                "result": "met",
                "orders": 2,
                "seconds": 19.5,
                "durations": [0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            }
        ],
    },
    "OrderShown": {
        **_PAYMENT,
        "refunds": [_LISTED_REFUND],
        **_MADE_BY,
        "timeline": [{"at": _CREATED, "kind": "created", "amount": 2500}],
    },
    "OperatorShown": _OPERATOR,
    "OperatorList": {"data": [_OPERATOR]},
    "EnrolmentShown": {"name": "kofi.owusu", "enrolment_code": "enrol_…", "expires_at": _EXPIRES},
    "TotpSecretShown": {
        "name": "ama.mensah",
        "totp_secret": "JBSWY3DPEHPK3PXP…",
        "totp_uri": "otpauth://totp/SyncCash:ama.mensah?secret=JBSWY3DPEHPK3PXP…&issuer=SyncCash",
    },
    "SignedInShown": {**_TOKEN, "operator": _OPERATOR, "failed_before": 0},
    "SignedOutShown": {"signed_out": True},
    "PasswordChangedShown": {"changed": True},
    "OperatorTokenList": {
        "data": [
            {
                "id": f"ot_{_ID}",
                "kind": "api",
                "name": "nightly report",
                "created_at": _CREATED,
                "expires_at": _EXPIRES,
                "last_used_at": None,
            }
        ]
    },
    "NewOperatorTokenShown": {**_TOKEN, "name": "nightly report"},
    "RevokedTokenShown": {"id": f"ot_{_ID}", "revoked": True},
    "ChallengedEndpointShown": {
        "id": f"we_{_ID}",
        "object": "webhook_endpoint",
        "status": "pending",
        "challenge": "3q2-7wAbcDeFGhIjKlMnOpQrStUvWxYz0123456789A",
    },
    "DisabledEndpointShown": {
        "id": f"we_{_ID}",
        "object": "webhook_endpoint",
        "status": "disabled",
        "disabled_reason": "failed for 72 hours",
    },
    "ContradictionList": {
        "data": [
            {
                "kind": "payment",
                "id": _PAYMENT_ID,
                "contradiction": "late_success",
                "since": _UPDATED,
                "status": "failed",
                "status_detail": None,
                "amount": 2500,
                "currency": "GHS",
                "rail": "mtn_momo",
                "merchant_id": _MERCHANT,
                "livemode": False,
            }
        ]
    },
    "ReconciliationList": {"data": [_RECONCILIATION]},
    "ReconciliationShown": {
        **_RECONCILIATION,
        "findings": [
            {
                "verdict": "missing",
                "line": None,
                "direction": "in",
                "stated": None,
                "ours": "25.00",
                "reference": "0d9f0b3c-5c1e-4b7a-9a55-0c6b1f5f1f10",
                "provider_id": None,
                "order_id": _PAYMENT_ID,
                "attempt_id": f"att_{_ID}",
                "detail": None,
            }
        ],
    },
    "ClosedContradictionsShown": {"id": _PAYMENT_ID, "closed": 1},
    "WebhookRecoveryShown": {
        "merchant_id": _MERCHANT,
        "livemode": False,
        "deliveries": 118,
        "has_more": False,
        "looked_since": None,
    },
    "RedeliveryShown": {"id": f"evt_{_ID}", "endpoints": 1},
    "EndpointShown": _ENDPOINT,
    "EndpointPage": _page(_ENDPOINT),
    "HealthShown": {
        "status": "degraded",
        "degraded": ["paystack"],
        "rails": {"mtn_momo": "ok", "paystack": "collect refused for 18 s"},
        "warnings": {},
    },
    "LiveShown": {"status": "ok"},
    "BreakerList": {"data": [_BREAKER]},
    "BreakerShown": _BREAKER,
    "BreakerResetShown": {**_BREAKER, "reset": ["mtn_momo:collect"]},
    "RateLimitsShown": {
        "key": "ip:192.0.2.9",
        "endpoint": "payment_initiation",
        "degraded": False,
        "data": [
            {
                "policy": "payment_initiation.ip",
                "key": "ip:192.0.2.9",
                "algorithm": "token_bucket",
                "limit": 120,
                "quota": 100,
                "period": 60.0,
                "burst": 20,
                "remaining": 0,
                "reset": 42.5,
                "blocked_until": _EXPIRES,
                "shadow": False,
            }
        ],
    },
    "BlockedKeyList": {
        "degraded": False,
        "data": [
            {
                "key": "ip:192.0.2.9",
                "endpoint": "payment_initiation",
                "policy": "ip",
                "blocked_until": _EXPIRES,
            }
        ],
    },
    "IdempotencyStatsShown": {
        "window_s": 3600.0,
        "claims": {"completed": 1820, "processing": 3, "overdue": 0, "oldest_processing_s": 0.8},
        "process": {
            "new_request": 911,
            "cache_hit": 14,
            "joined": 2,
            "store_hit": 1,
            "key_conflict": 0,
            "in_progress": 1,
            "taken_over": 0,
            "fenced_off": 0,
            "replayed_bytes": 20_480,
        },
    },
    "FloatList": {"data": [_FLOAT]},
    "ResilienceHealthShown": {
        "status": "degraded",
        "troubles": [
            {
                "what": "mtn_momo:collect",
                "state": "open",
                "detail": f"12 of 20 calls failed; last: {_TIMEOUT.for_breaker}. {_TIMEOUT.action}",
                "retry_after": 18.4,
                "cause": _TIMEOUT.code.value,
                "action": _TIMEOUT.action,
                "since": _CREATED,
            }
        ],
        "breakers": {"mtn_momo:collect": "open", "mtn_momo:payout": "closed"},
        "notices": [
            {"what": "four_eyes", "state": "off", "detail": "There is only one operator, so nothing waits."}
        ],
        "durability": {
            "synchronous_commit": "on",
            "fsync": True,
            "synchronous_standby_names": "standby",
            "synchronous_standbys": 1,
            "weaknesses": [],
        },
        "floats": [_FLOAT],
    },
    "RoutingReplayShown": {
        "orders": 1820,
        "unrouted": 3,
        "moved": 240,
        "moves": [
            {
                "operation": "collect",
                "former": "paystack",
                "new": "mtn_momo",
                "orders": 240,
                "amount": 600_000,
            }
        ],
        "cost_used": 47_320.5,
        "cost_new": 45_040.5,
    },
    "RouteShown": {
        "chosen": "mtn_momo",
        "reason": "best_score",
        "considered": [
            {
                "rail": "mtn_momo",
                "score": 1.0,
                "health": 1.0,
                "seen": {"send": 1.0, "end": 1.0, "pace": 1.0, "inquiry": 1.0},
                "cost_percent": 1.5,
                "preferred": 1,
                "share_percent": None,
            }
        ],
    },
}
