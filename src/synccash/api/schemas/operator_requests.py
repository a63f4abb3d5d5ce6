"""The schemas of requests about operators, merchants, keys and credits; unknown members are refused."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from synccash.api.schemas.fields import (
    PRINTABLE,
    TEXT,
    Amount,
    Currency,
    Livemode,
    Reason,
    described,
    expected,
)
from synccash.payments.access import AccessScope
from synccash.payments.balance import CREDIT_MAX
from synccash.payments.operator import PASSWORD_MAX, PASSWORD_MIN, NewOperatorName, OperatorName

_TotpCode = Annotated[
    str, Meta(pattern=r"^[0-9]{6}$(?!\n)", description="The present TOTP code", extra=expected("6 digits"))
]
_GivenPassword = Annotated[
    str, Meta(min_length=1, max_length=PASSWORD_MAX, description="The present password")
]
_OperatorName = Annotated[OperatorName, described("The name of the operator")]
_NewPassword = Annotated[
    str,
    Meta(
        min_length=PASSWORD_MIN,
        max_length=PASSWORD_MAX,
        description="The new password",
        extra=expected(f"{PASSWORD_MIN} to {PASSWORD_MAX} characters"),
    ),
]
_Role = Annotated[
    Literal["viewer", "operator", "admin"],
    Meta(description="What the operator may do", extra=expected("viewer, operator or admin")),
]


class SignInBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An operator's name, password and present TOTP code."""

    name: _OperatorName
    password: _GivenPassword
    totp: _TotpCode


class EnrolBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The enrolment code of an operator, and the password that the operator chooses."""

    name: _OperatorName
    code: Annotated[str, Meta(min_length=1, max_length=100, description="The enrolment code")]
    password: _NewPassword


class PasswordChangeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The present password and TOTP code of the caller, and the new password."""

    password: _GivenPassword
    totp: _TotpCode
    new_password: _NewPassword


class OperatorBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new operator."""

    name: Annotated[NewOperatorName, described("The name of the operator")]
    role: _Role
    reason: Reason


class OperatorRoleBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another role of an operator."""

    role: _Role
    reason: Reason


class OperatorTokenBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new API token: what it is for, and for how many days it is valid."""

    name: Annotated[
        str, Meta(min_length=1, max_length=100, pattern=PRINTABLE, description="What the token is for")
    ]
    days: Annotated[int, Meta(ge=1, le=365, description="Days", extra=expected("1 to 365 days"))]


class MerchantBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new merchant."""

    name: Annotated[
        str, Meta(min_length=1, max_length=100, pattern=PRINTABLE, description="The name of the merchant")
    ]


class ApiKeyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new API key: of a merchant, or an admin key if `merchant_id` is null. Without `scopes` it has the
    default ones of its kind."""

    merchant_id: Annotated[
        Annotated[str, Meta(min_length=1, max_length=64, pattern=PRINTABLE)] | None,
        described("The merchant; null: an admin key"),
    ]
    livemode: Livemode
    name: Annotated[str, Meta(max_length=100, pattern=TEXT, description="What the key is for")] = ""
    scopes: Annotated[
        Annotated[list[AccessScope], Meta(min_length=1, max_length=20)] | None,
        described("What the key may do; null: the default of its kind"),
    ] = None
    allowed_ips: Annotated[
        list[Annotated[str, Meta(max_length=64)]],
        Meta(max_length=100, description="Addresses and networks that may use the key; empty: all"),
    ] = []
    expires_in_s: Annotated[
        Annotated[int, Meta(ge=1, le=315_360_000, extra=expected("1 second to 10 years"))] | None,
        described("Seconds until the key expires; null: never"),
    ] = None


class KeyRotationBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For how many seconds the former key stays valid."""

    overlap_s: Annotated[
        int,
        Meta(ge=0, le=7_776_000, description="Seconds", extra=expected("0 seconds to 90 days")),
    ] = 86_400


_CreditAmount = Annotated[
    int,
    Meta(
        ge=-CREDIT_MAX,
        le=CREDIT_MAX,
        description="Pesewas; a negative amount takes credit back",
        extra=expected(f"a whole number of pesewas from -{CREDIT_MAX} to {CREDIT_MAX}"),
    ),
]
_AuditReason = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        pattern=PRINTABLE,
        description="The reason, for the audit log",
        extra=expected("1 to 200 characters"),
    ),
]
_MerchantId = Annotated[
    str, Meta(min_length=1, max_length=64, pattern=PRINTABLE, description="The id of a merchant")
]


class CreditBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A credit for a merchant. A repeat with the same `key` grants nothing more."""

    merchant_id: _MerchantId
    livemode: Livemode
    currency: Currency
    amount: _CreditAmount
    reason: _AuditReason
    key: Annotated[
        Annotated[str, Meta(min_length=1, max_length=200, pattern=PRINTABLE)] | None,
        described("Names this credit, so that a repeat grants nothing more"),
    ] = None


class OperatorRefundBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A refund by an operator. A repeat with the same `key` refunds nothing more."""

    reason: _AuditReason
    amount: Annotated[Amount | None, described("Pesewas; null: all that is left to refund")] = None
    key: Annotated[
        Annotated[str, Meta(min_length=1, max_length=200, pattern=PRINTABLE)] | None,
        described("Names this refund, so that a repeat refunds nothing more; null: no repeat is known"),
    ] = None


class WebhookRecoveryBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From when on a merchant's undelivered events are sent again, and why."""

    livemode: Livemode
    since: Annotated[
        datetime,
        Meta(
            description="Events from this time on; UTC without an offset",
            extra=expected("a time such as 2026-03-02T09:15:00Z"),
        ),
    ]
    reason: _AuditReason


_Rules = Annotated[str, Meta(max_length=4_000, pattern=TEXT)]
_Weight = Annotated[float, Meta(ge=0, le=1)]


class RoutingRulesBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Routing rules as the settings of these names have them, to see what they would change."""

    costs: Annotated[_Rules, described("`routing_costs`, such as mtn_momo: 1%; paystack: 1.95%")] = ""
    preferences: Annotated[_Rules, described("`routing_preferences`, such as *: mtn_momo > paystack")] = ""
    splits: Annotated[
        _Rules, described("`routing_splits`, such as mtn collect: mtn_momo 80, paystack 20")
    ] = ""
    cost_weight: Annotated[_Weight | None, described("`routing_cost_weight`; null: the one in force")] = None
    preference_step: Annotated[
        _Weight | None, described("`routing_preference_step`; null: the one in force")
    ] = None


class CreditConfirmationBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The credit that replaces the provisional one of an upgrade, in pesewas."""

    merchant_id: _MerchantId
    livemode: Livemode
    currency: Currency
    credit: Annotated[
        int, Meta(ge=0, le=CREDIT_MAX, description="Pesewas", extra=expected(f"0 to {CREDIT_MAX} pesewas"))
    ]
    reason: _AuditReason
