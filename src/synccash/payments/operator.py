"""Operators: the people who run the service, and the errors of their sign-in."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta

from synccash.payments.access import OperatorRole
from synccash.payments.document import moment
from synccash.payments.errors import RequestError, RetryLaterError

OperatorName = Annotated[
    str,
    Meta(
        min_length=2,
        max_length=40,
        pattern=r"^[a-z][a-z0-9.-]{1,39}$(?!\n)",
        description="Lower-case letters, digits, dots and hyphens; never changed and never given again",
        extra={"expected": "2 to 40 lower-case letters, digits, dots or hyphens, beginning with a letter"},
    ),
]
"""The names of operators. They have no underscore and no colon, so none looks like the id of a key."""
NewOperatorName = Annotated[
    str,
    Meta(
        min_length=2,
        max_length=40,
        pattern=r"^(?!(?:enrol|password|sign-in|sign-out|tokens)$)[a-z][a-z0-9.-]{1,39}$(?!\n)",
        extra={
            "expected": "2 to 40 lower-case letters, digits, dots or hyphens, beginning with a letter, and "
            "none of enrol, password, sign-in, sign-out, tokens"
        },
    ),
]
"""The name of a new operator: none that is a path of its own below `/operators`, because no call would reach
the operator."""
PASSWORD_MIN, PASSWORD_MAX = 12, 128
"""The length of a password in characters. NIST SP 800-63B asks for 8; without a list of leaked passwords more
is safer, and the maximum bounds the work of the hash."""


def actor_of(name: str) -> str:
    """Return how the audit log and timelines name an operator."""
    return f"operator:{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One operator, without the secrets. `is_enrolled`: the operator has a password and a TOTP secret."""

    id: str
    name: str
    role: OperatorRole
    is_enrolled: bool
    failed_sign_ins: int
    signed_in_at: datetime | None
    disabled_at: datetime | None
    created_at: datetime
    created_by: str

    @property
    def is_active(self) -> bool:
        """Tell whether the operator can sign in."""
        return self.is_enrolled and self.disabled_at is None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorToken:
    """A bearer token of an operator, without its secret. `kind` is `session` or `api`."""

    id: str
    kind: str
    name: str
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedToken:
    """A new token with its secret, which is not stored."""

    id: str
    secret: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """A new enrolment code of an operator, which is not stored in the clear."""

    name: str
    code: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """A successful sign-in. `failed_before`: the failed ones since the one before it."""

    operator: Operator
    token: IssuedToken
    failed_before: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TotpSecret:
    """A new TOTP secret, with the URI that authenticator apps read from a QR code."""

    secret: str
    uri: str


def operator_document(operator: Operator) -> dict[str, Any]:
    """Return an operator as the API shows it."""
    return {
        "id": operator.id,
        "name": operator.name,
        "role": operator.role.value,
        "enrolled": operator.is_enrolled,
        "failed_sign_ins": operator.failed_sign_ins,
        "signed_in_at": None if operator.signed_in_at is None else moment(operator.signed_in_at),
        "disabled_at": None if operator.disabled_at is None else moment(operator.disabled_at),
        "created_at": moment(operator.created_at),
        "created_by": operator.created_by,
    }


def enrolment_document(made: Enrolment) -> dict[str, Any]:
    """Return an enrolment code as the API shows it."""
    return {"name": made.name, "enrolment_code": made.code, "expires_at": moment(made.expires_at)}


class SignInRefusedError(RequestError):
    """Name, password, TOTP code or enrolment code are wrong, or the operator is disabled.

    No text says which.
    """


class SignInThrottledError(RetryLaterError):
    """Too many sign-ins failed for this name or address, or too many run now. Retry after `retry_after_s`."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("too many sign-ins failed")
        self.retry_after_s = retry_after_s
