"""Operators: the people who run the service, and the errors of their sign-in."""

import secrets
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
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
CODE_HALF = "code_half_sha256"
"""The parameter of an action that has the digest of the first half of an enrolment code."""
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
    """A new enrolment code of an operator, which is not stored in the clear.

    `is_half`: the code is the second half of the whole one; the operator who requested it has the first half.
    """

    name: str
    code: str
    expires_at: datetime
    is_half: bool = False


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
    member = "enrolment_code_half" if made.is_half else "enrolment_code"
    return {"name": made.name, member: made.code, "expires_at": moment(made.expires_at)}


def new_enrolment_code() -> str:
    """Return a new random enrolment code, or half of one."""
    return f"enrol_{secrets.token_urlsafe(24)}"


def whole_enrolment_code(first: str, second: str) -> str:
    """Return the code of two halves, as the new operator types it."""
    return f"{first}.{second}"


def code_half_digest(first: str) -> str:
    """Return what is stored of the first half while the second operator's approval is awaited."""
    return sha256(first.encode()).hexdigest()


def enrolment_hash(code: str) -> bytes:
    """Return what is stored of a code. That of two halves is made from the digest of the first one."""
    first, dot, second = code.partition(".")
    return hash_with_half(code_half_digest(first), second) if dot else sha256(code.encode()).digest()


def hash_with_half(first_digest: str, second: str) -> bytes:
    """Return what is stored of a code, of whose first half only the digest is known."""
    return sha256(f"{first_digest}.{second}".encode()).digest()


class SignInRefusedError(RequestError):
    """Name, password, TOTP code or enrolment code are wrong, or the operator is disabled.

    No text says which.
    """


class SignInThrottledError(RetryLaterError):
    """Too many sign-ins failed for this name or address, or too many run now. Retry after `retry_after_s`."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("too many sign-ins failed")
        self.retry_after_s = retry_after_s
