"""The schemas of requests about orders and webhook endpoints. Members that are not named here are refused."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from synccash.api.hints import network_meant
from synccash.api.schemas.fields import (
    Amount,
    BlockedFor,
    Currency,
    Description,
    EndpointTypes,
    EndpointUrl,
    ExpiresIn,
    Metadata,
    Password,
    PayeeName,
    PhoneNumber,
    RailName,
    Reason,
    Reference,
    described,
    expected,
)
from synccash.payments.payer import Network

_RequestedNetwork = Annotated[
    Network | None,
    Meta(
        description="The network of the number, where it is known; null: by the number's prefix",
        extra={"meant": network_meant},
    ),
]


class PayerBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The payer."""

    msisdn: PhoneNumber
    network: _RequestedNetwork = None


class PaymentBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Collect money. `rail` pins one rail: no other is tried."""

    amount: Amount
    currency: Currency
    payer: PayerBody
    reference: Reference
    description: Annotated[Description | None, described("A text for people, such as what was bought")] = None
    metadata: Metadata = {}
    expires_in: ExpiresIn = 900
    rail: Annotated[RailName | None, described("Pins this rail, such as mtn_momo: no other is tried")] = None


class PayeeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The payee."""

    msisdn: PhoneNumber
    network: _RequestedNetwork = None
    name: Annotated[
        PayeeName | None, described("The holder of the wallet, for rails that require a name")
    ] = None


class PayoutBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Send money. `rail` pins one rail: no other is tried."""

    amount: Amount
    currency: Currency
    payee: PayeeBody
    reference: Reference
    description: Annotated[Description | None, described("A text for people, such as what was bought")] = None
    metadata: Metadata = {}
    expires_in: ExpiresIn = 86_400
    rail: Annotated[RailName | None, described("Pins this rail, such as mtn_momo: no other is tried")] = None


class RefundBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Refund a payment; without an amount, all that is left to refund."""

    amount: Annotated[Amount | None, described("Pesewas; null: all that is left to refund")] = None
    reason: Annotated[Description | None, described("Why the money is returned, for people")] = None


class PasswordBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The one-time password that the payer received."""

    otp: Password


class DecisionBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The reason of an operator's decision."""

    reason: Reason


class ReasonBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The optional reason of an operator's action."""

    reason: Annotated[Reason | None, described("The reason, for the audit log")] = None


class BlockBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For how many seconds a key is blocked, and why."""

    duration: BlockedFor
    reason: Reason


class ResolutionBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The outcome that was found at the rail, with its evidence. `rail` names the rail of a successful
    attempt that the database has lost."""

    outcome: Annotated[
        Literal["succeeded", "failed"],
        Meta(description="The outcome at the rail", extra=expected("succeeded or failed")),
    ]
    evidence: Annotated[Reason, described("Where the outcome was found, for the audit log")]
    rail: Annotated[RailName | None, described("The rail of a successful attempt that was lost")] = None


class PaymentResolutionBody(ResolutionBody, frozen=True, forbid_unknown_fields=True):
    """The outcome that was found at the rail. `amount_received` is given if it differs from the amount."""

    amount_received: Annotated[
        Amount | None, described("Pesewas that the rail collected; null: the payment's amount")
    ] = None


class EndpointBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A URL that gets events of these types; without `types`, of all types."""

    url: EndpointUrl
    types: Annotated[EndpointTypes | None, described("The event types that are sent; null: all types")] = None


class EndpointChangeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Changes of an endpoint; members that are absent change nothing. `rotate_secret` creates a new signing
    secret."""

    url: Annotated[EndpointUrl | None, described("Where events are sent; null: as it is")] = None
    types: Annotated[EndpointTypes | None, described("The event types that are sent; null: all types")] = None
    status: Annotated[
        Literal["enabled", "disabled"] | None, described("Whether events are sent to the endpoint")
    ] = None
    rotate_secret: Annotated[
        bool, described("true: create a new signing secret; the former one still signs for 24 hours")
    ] = False
