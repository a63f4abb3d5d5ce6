"""Makes operators as a person does: with an enrolment code, an authenticator app and a password."""

from dataclasses import dataclass
from typing import Any

import pyotp
from argon2 import PasswordHasher

from synccash.administration.operators.operators import Operators
from synccash.administration.operators.passwords import PasswordHashes
from synccash.payments.access import OperatorRole

PASSWORD = "correct horse battery"


def quick_passwords() -> PasswordHashes:
    """Hashes that cost nearly nothing. They hold their parameters, so that the service verifies them too."""
    return PasswordHashes(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@dataclass(slots=True)
class Person:
    """An enrolled operator, who can read a code from the app."""

    name: str
    totp_secret: str
    password: str = PASSWORD

    def code(self, at: float) -> str:
        """The code that the app shows at a time, in seconds since 1970."""
        return pyotp.TOTP(self.totp_secret).at(int(at))


async def enrolled(operators: Operators, name: str, role: str) -> Person:
    """Add an operator with database credentials, and enrol."""
    made = await operators.create(name, OperatorRole(role), by="database:test")
    totp = await operators.enrol(name, made.code, PASSWORD, "203.0.113.1")
    return Person(name, totp.secret)


async def token_of(operators: Operators, name: str, role: str) -> str:
    """A token of a new operator with this role."""
    person = await enrolled(operators, name, role)
    code = person.code(operators.clock.now().timestamp())
    return (await operators.sign_in(name, PASSWORD, code, "203.0.113.2")).token.secret


def bearer(token: str) -> dict[str, Any]:
    """The header of a request with this token."""
    return {"Authorization": f"Bearer {token}"}
