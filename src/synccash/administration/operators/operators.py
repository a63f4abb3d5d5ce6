"""Operators: enrolment, sign-in by password and TOTP code, tokens, roles.

Shared by the API and by `synccash operators create` and `reset`, which use database credentials.
"""

import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256

import pyotp
import structlog
from pyotp.totp import TOTP

from synccash.administration.operators.passwords import PasswordHashes
from synccash.payments.access import OperatorRole
from synccash.payments.approval import Execution
from synccash.payments.audit import AuditNote
from synccash.payments.errors import ObjectNotFoundError, StateConflictError
from synccash.payments.operator import (
    Enrolment,
    IssuedToken,
    Operator,
    OperatorToken,
    SignedIn,
    SignInRefusedError,
    SignInThrottledError,
    TotpSecret,
    actor_of,
    enrolment_hash,
    hash_with_half,
    new_enrolment_code,
)
from synccash.payments.ports import Clock, Identities
from synccash.stores.postgres.audit import PostgresAudit
from synccash.stores.postgres.operations.operators import PostgresOperators

log = structlog.get_logger("synccash.operators")
SESSION_S = 8 * 3_600.0
"""How long the token of a sign-in is valid: one working day."""
ENROLMENT_S = 24 * 3_600.0
TOKEN_DAYS_MAX = 365
_STEP_S = 30
_STEPS_TOLERATED = 1
_FREE_FAILURES = 5
_NAME_DELAY_MAX_S = 60.0
_ADDRESS_DELAY_MAX_S = 300.0
_DECOY_SECRET = pyotp.random_base32()
_DAY_S = 86_400.0
OUTCOMES = ("signed_in", "refused", "throttled")


@dataclass(frozen=True, slots=True)
class Operators:
    """Live: one per process. `sign_ins` counts sign-ins by their outcome.

    Every method raises StoreUnavailableError without PostgreSQL. The audit log gets an action in
    the transaction of its change; failed sign-ins are counted only, because anybody can make them.
    """

    store: PostgresOperators
    audit: PostgresAudit
    passwords: PasswordHashes
    clock: Clock
    identities: Identities
    sign_ins: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))

    async def sign_in(self, name: str, password: str, code: str, address: str) -> SignedIn:
        """Check password and TOTP code and return a session. `address` is the client's.

        Raises SignInRefusedError and SignInThrottledError.
        """
        try:
            return await self._sign_in(name, password, code, address)
        except SignInThrottledError:
            self.sign_ins["throttled"] += 1
            raise
        except SignInRefusedError:
            self.sign_ins["refused"] += 1
            await self.store.count_failure(name)
            raise

    async def _sign_in(self, name: str, password: str, code: str, address: str) -> SignedIn:
        found = await self.store.credentials(name, address)
        by_address = f"address:{address}"
        by_name = f"name:{sha256(name.encode()).hexdigest()[:32]}"
        if found is not None and found.is_known_address:
            by_address, by_name = f"{by_address}/{found.id}", f"{by_name}@{address}"
        await self._reserve(by_address, _ADDRESS_DELAY_MAX_S)
        await self._reserve(by_name, _NAME_DELAY_MAX_S)
        # The same work for every name and every wrong part, so that the time tells nothing.
        is_password = await self.passwords.verify(None if found is None else found.password_hash, password)
        step = self._step_of(code, _DECOY_SECRET if found is None else found.totp_secret or _DECOY_SECRET)
        stored = None if found is None else found.password_hash
        if found is None or stored is None or not is_password or step is None or found.is_disabled:
            log.warning("operator_sign_in_refused", operator_id=None if found is None else found.id)
            raise SignInRefusedError
        if not await self.store.use_step(found.id, step):
            log.warning("operator_sign_in_refused", operator_id=found.id, totp_code_used_before=True)
            raise SignInRefusedError
        await self.store.signed_in(found.id, address, (by_address, by_name))
        secret, token_id = self._new_token()
        token = _issued(
            token_id,
            secret,
            await self.store.add_session(token_id, name, _hashed(secret), SESSION_S, password_hash=stored),
        )
        operator = await self.store.operator(name)
        if operator is None or token is None:
            raise SignInRefusedError
        self.sign_ins["signed_in"] += 1
        log.info("operator_signed_in", operator_id=found.id)
        return SignedIn(operator=operator, token=token, failed_before=found.failed_sign_ins)

    async def sign_in_by_link(self, code: str) -> SignedIn:
        """Return a session for the code of a one-time link, which is used up. Raises SignInRefusedError."""
        secret, token_id = self._new_token()
        found = await self.store.use_link(_hashed(code), token_id, _hashed(secret), SESSION_S)
        operator = None if found is None else await self.store.operator(found[0])
        token = None if found is None else _issued(token_id, secret, found[1])
        if operator is None or token is None:
            raise SignInRefusedError
        self.sign_ins["signed_in"] += 1
        log.info("operator_signed_in", operator_id=operator.id, by_link=True)
        return SignedIn(operator=operator, token=token, failed_before=0)

    async def _reserve(self, subject: str, delay_max_s: float) -> None:
        wait_s = await self.store.reserve_sign_in(subject, free=_FREE_FAILURES, delay_max_s=delay_max_s)
        if wait_s is not None:
            raise SignInThrottledError(wait_s)

    def _step_of(self, code: str, secret: str) -> int | None:
        """Return the 30 s step that a TOTP code belongs to, of the present one and its neighbours."""
        totp, now = TOTP(secret), int(self.clock.now().timestamp()) // _STEP_S
        matching = [
            step
            for step in range(now - _STEPS_TOLERATED, now + _STEPS_TOLERATED + 1)
            if hmac.compare_digest(totp.generate_otp(step), code)
        ]
        return matching[0] if matching else None

    async def create(
        self,
        name: str,
        role: OperatorRole,
        *,
        by: str,
        reason: str = "",
        first_half: str | None = None,
        execution: Execution | None = None,
    ) -> Enrolment:
        """Add an operator, who enrols with the code that is returned. With the digest of a `first_half`, that
        code is the second half. Raises StateConflictError.
        """
        code, hashed = _new_code(first_half)
        note = _note(by, "operator_create", name, _with(role, reason), execution)
        made = self.identities.new("op")
        expires_at = await self.store.add(made, name, role, hashed, ENROLMENT_S, by=by, note=note)
        if expires_at is None:
            raise StateConflictError(
                f"the name {name} belongs to an operator already, and names are never given again: choose "
                "another, or reset that operator"
            )
        return Enrolment(name=name, code=code, expires_at=expires_at, is_half=first_half is not None)

    async def reset(
        self,
        name: str,
        *,
        by: str,
        reason: str,
        first_half: str | None = None,
        execution: Execution | None = None,
    ) -> Enrolment:
        """End an operator's password, TOTP secret and tokens, and return a code to enrol again. With the
        digest of a `first_half`, that code is the second half.

        Raises ObjectNotFoundError.
        """
        code, hashed = _new_code(first_half)
        note = _note(by, "operator_reset", name, reason, execution)
        expires_at = await self.store.reset(name, hashed, ENROLMENT_S, note=note)
        if expires_at is None:
            raise ObjectNotFoundError("operator", name)
        return Enrolment(name=name, code=code, expires_at=expires_at, is_half=first_half is not None)

    async def enrol(self, name: str, code: str, password: str, address: str) -> TotpSecret:
        """Set the password of an operator who has an enrolment code; return the new TOTP secret.

        Raises SignInRefusedError and SignInThrottledError.
        """
        by_address = f"address:{address}"
        await self._reserve(by_address, _ADDRESS_DELAY_MAX_S)
        # Codes are long random texts: they are checked before the hash, which is slow, is made.
        if not await self.store.may_enrol(name, enrolment_hash(code)):
            raise SignInRefusedError
        hashed = await self.passwords.make(password)
        secret = pyotp.random_base32()
        note = AuditNote(actor=actor_of(name), action="operator_enrol", target=name)
        if not await self.store.enrol(name, enrolment_hash(code), hashed, secret, note=note):
            raise SignInRefusedError
        await self.store.forget_failures(by_address)
        uri = TOTP(secret).provisioning_uri(name=name, issuer_name="SyncCash")
        return TotpSecret(secret=secret, uri=uri)

    async def change_password(
        self, name: str, password: str, code: str, new: str, *, address: str, token: bytes
    ) -> None:
        """Change an operator's own password and end the other sessions. `token` is the hash of the caller's.

        Raises SignInRefusedError and SignInThrottledError.
        """
        subject = f"password:{sha256(name.encode()).hexdigest()[:32]}"
        await self._reserve(subject, _NAME_DELAY_MAX_S)
        found = await self.store.credentials(name, address)
        is_password = await self.passwords.verify(None if found is None else found.password_hash, password)
        step = None if found is None or found.totp_secret is None else self._step_of(code, found.totp_secret)
        if found is None or not is_password or step is None or not await self.store.use_step(found.id, step):
            raise SignInRefusedError
        hashed = await self.passwords.make(new)
        note = AuditNote(actor=actor_of(name), action="operator_password", target=name)
        await self.store.set_password(found.id, hashed, token=token, note=note)
        await self.store.signed_in(found.id, address, (subject,))

    async def all(self) -> Sequence[Operator]:
        """Return all operators, oldest first."""
        return await self.store.all()

    async def disable(self, name: str, *, by: str, reason: str) -> Operator:
        """End an operator's tokens and refuse further sign-ins.

        Raises ObjectNotFoundError; StateConflictError for the last admin.
        """
        await self._require_another_admin(name)
        note = AuditNote(actor=by, action="operator_disable", target=name, reason=reason)
        if not await self.store.disable(name, note=note):
            raise _last_admin(name)
        return await self._one(name)

    async def enable(
        self, name: str, *, by: str, reason: str, execution: Execution | None = None
    ) -> Operator:
        """Let a disabled operator sign in again. Raises ObjectNotFoundError."""
        await self._one(name)
        note = _note(by, "operator_enable", name, reason, execution)
        await self.store.enable(name, note=note)
        return await self._one(name)

    async def set_role(
        self, name: str, role: OperatorRole, *, by: str, reason: str, execution: Execution | None = None
    ) -> Operator:
        """Change a role; tokens follow within 5 s.

        Raises ObjectNotFoundError; StateConflictError where it would leave no admin.
        """
        if role is not OperatorRole.ADMIN:
            await self._require_another_admin(name)
        await self._one(name)
        note = _note(by, "operator_role", name, _with(role, reason), execution)
        if not await self.store.set_role(name, role, note=note):
            raise _last_admin(name)
        return await self._one(name)

    async def tokens(self, name: str) -> Sequence[OperatorToken]:
        """Return an operator's valid tokens, oldest first."""
        return await self.store.tokens(name)

    async def create_token(self, name: str, label: str, days: int, *, token: bytes) -> IssuedToken:
        """Create an API token for an operator. `token` is the hash of the caller's; if that is an API token,
        the new one expires no later.

        Raises SignInRefusedError if the caller's token was revoked.
        """
        told = f"{label}, {days} days"
        note = AuditNote(actor=actor_of(name), action="operator_token_create", target=name, reason=told)
        secret, token_id = self._new_token()
        expires_at = await self.store.add_api_token(
            token_id, name, _hashed(secret), label, days * _DAY_S, made_with=token, note=note
        )
        made = _issued(token_id, secret, expires_at)
        if made is None:
            raise SignInRefusedError
        return made

    async def revoke_token(self, name: str, token_id: str) -> None:
        """Revoke an operator's own token. Raises ObjectNotFoundError."""
        note = AuditNote(actor=actor_of(name), action="operator_token_revoke", target=token_id)
        if not await self.store.revoke_token(name, token_id=token_id, note=note):
            raise ObjectNotFoundError("token", token_id)

    async def sign_out(self, name: str, token: bytes) -> None:
        """Revoke the token with this SHA-256."""
        await self.store.revoke_token(name, secret_hash=token)

    def _new_token(self) -> tuple[str, str]:
        """Return a new secret and the id of its token."""
        return f"sk_operator_{secrets.token_hex(24)}", self.identities.new("ot")

    async def _one(self, name: str) -> Operator:
        found = await self.store.operator(name)
        if found is None:
            raise ObjectNotFoundError("operator", name)
        return found

    async def _require_another_admin(self, name: str) -> None:
        """Raise StateConflictError if `name` is the last active admin, else nothing."""
        target = await self._one(name)
        admins = [
            one.name for one in await self.store.all() if one.is_active and one.role is OperatorRole.ADMIN
        ]
        if target.role is OperatorRole.ADMIN and not set(admins) - {name}:
            raise _last_admin(name)


def _note(by: str, action: str, name: str, reason: str, execution: Execution | None) -> AuditNote:
    return AuditNote(actor=by, action=action, target=name, reason=reason, execution=execution)


def _issued(token_id: str, secret: str, expires_at: datetime | None) -> IssuedToken | None:
    return None if expires_at is None else IssuedToken(id=token_id, secret=secret, expires_at=expires_at)


def _last_admin(name: str) -> StateConflictError:
    return StateConflictError(
        f"{name} is the last admin who can sign in: give another operator the role admin first"
    )


def _new_code(first_half: str | None) -> tuple[str, bytes]:
    """Return a new code, or its second half, and the hash of the whole one."""
    code = new_enrolment_code()
    return code, enrolment_hash(code) if first_half is None else hash_with_half(first_half, code)


def _hashed(secret: str) -> bytes:
    return sha256(secret.encode()).digest()


def _with(role: OperatorRole, reason: str) -> str:
    return f"{reason} (role {role.value})" if reason else f"role {role.value}"
