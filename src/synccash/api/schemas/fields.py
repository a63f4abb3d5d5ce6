"""The types of single properties, which requests and answers share, each with its description."""

from typing import Annotated, Literal

from msgspec import Meta

from synccash.api.hints import pesewas_meant
from synccash.payments.money import AMOUNT_MAX
from synccash.payments.payment import StatusDetail

# `$` alone would let one line feed pass at the end (Python's re); the look-ahead does not.
TEXT = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$(?!\n)"
PRINTABLE = r"^[^\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]+$(?!\n)"
_GAP = r"[ \-\u00a0\u2009\u202f]*"
_MSISDN = rf"^{_GAP}(?:(?:\+{_GAP})?2{_GAP}3{_GAP}3|0){_GAP}[25](?:{_GAP}[0-9])" + "{8}" + rf"{_GAP}$(?!\n)"


def expected(text: str) -> dict[str, str]:
    return {"expected": text}


def described(text: str) -> Meta:
    """Return the annotation that describes a property in the OpenAPI document."""
    return Meta(description=text)


Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""A time as RFC 3339, in UTC."""
_ULID = "[0-9a-hjkmnp-tv-z]{26}"
PaymentId = Annotated[str, Meta(pattern=f"^pay_{_ULID}$")]
RefundId = Annotated[str, Meta(pattern=f"^re_{_ULID}$")]
PayoutId = Annotated[str, Meta(pattern=f"^po_{_ULID}$")]
AttemptId = Annotated[str, Meta(pattern=f"^att_{_ULID}$")]
EndpointId = Annotated[str, Meta(pattern=f"^we_{_ULID}$")]
# Events about a rail have the MD5 of what happened instead of a ULID.
EventId = Annotated[str, Meta(pattern=rf"^evt_(?:{_ULID}|[0-9a-f]{{32}})$")]
MerchantId = Annotated[str, Meta(pattern="^mer_[0-9a-z_]+$")]


Amount = Annotated[
    int,
    Meta(
        ge=1,
        le=AMOUNT_MAX,
        description="Pesewas (1 GHS = 100 pesewas)",
        extra={"expected": f"a whole number of pesewas from 1 to {AMOUNT_MAX}", "meant": pesewas_meant},
    ),
]
Currency = Annotated[
    Literal["GHS"], Meta(description="ISO 4217; only GHS is supported", extra=expected("GHS"))
]
PhoneNumber = Annotated[
    str,
    Meta(
        max_length=40,
        pattern=_MSISDN,
        description="A Ghanaian mobile number: 0241234567, 233241234567, +233 24 123 4567",
        extra=expected("a Ghanaian mobile number such as 0241234567 or +233241234567"),
    ),
]
Reference = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        pattern=PRINTABLE,
        description="The merchant's own reference of the order; unique per merchant",
        extra=expected("1 to 64 printable characters"),
    ),
]
PayeeName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=100,
        pattern=PRINTABLE,
        extra=expected("1 to 100 printable characters"),
    ),
]
Description = Annotated[
    str,
    Meta(
        max_length=255,
        pattern=TEXT,
        extra=expected("at most 255 characters without control characters"),
    ),
]
_MetadataKey = Annotated[str, Meta(min_length=1, max_length=40, pattern=PRINTABLE)]
_MetadataValue = Annotated[str, Meta(max_length=500, pattern=TEXT)]
Metadata = Annotated[
    dict[_MetadataKey, _MetadataValue],
    Meta(
        max_length=20,
        description="The merchant's own data, returned as it was sent",
        extra=expected(
            "at most 20 texts of at most 500 characters under names of 1 to 40, without control characters"
        ),
    ),
]
ExpiresIn = Annotated[
    int,
    Meta(
        ge=30,
        le=86_400,
        description="Seconds from now until nothing new is sent for the order",
        extra=expected("a whole number of seconds from 30 to 86400"),
    ),
]
RailName = Annotated[
    str,
    Meta(
        pattern=r"^[a-z_]{1,32}$(?!\n)",
        extra=expected("the id of a rail such as mtn_momo"),
    ),
]
Password = Annotated[
    str,
    Meta(
        pattern=r"^[0-9A-Za-z]{3,12}$(?!\n)",
        description="The one-time password",
        extra=expected("3 to 12 letters and digits"),
    ),
]
Reason = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=500,
        pattern=TEXT,
        description="The reason, for the audit log",
        extra=expected("1 to 500 characters, no control characters"),
    ),
]

BlockedFor = Annotated[
    int, Meta(ge=1, le=2_592_000, description="Seconds", extra=expected("1 to 2,592,000 seconds"))
]


EndpointUrl = Annotated[
    str, Meta(min_length=1, max_length=2_000, description="Where events are sent; https in production")
]
EndpointTypes = Annotated[list[str], Meta(min_length=1, max_length=50)]


HasMore = Annotated[bool, described("true: there is a next page")]
Next = Annotated[str | None, described("The `after` of the next page; null: this is the last page")]
Livemode = Annotated[bool, described("false: test mode, no real money")]
CurrencyCode = Annotated[str, Meta(pattern="^[A-Z]{3}$", description="ISO 4217")]
RailId = Annotated[str, described("The id of the rail")]
StatusReason = Annotated[StatusDetail | None, described("The reason for the status")]
