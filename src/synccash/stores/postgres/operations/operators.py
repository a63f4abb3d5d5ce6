"""Operators, their tokens and the throttle of their sign-ins in PostgreSQL."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from synccash.payments.access import CallerKind, Credential, OperatorRole, Principal
from synccash.payments.audit import AuditNote
from synccash.payments.operator import Operator, OperatorToken, actor_of
from synccash.stores.encryption import Encryption, is_sealed
from synccash.stores.postgres.audit import change_with_note
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.sealing import open_value

_COLUMNS = """
id, name, role, password_hash IS NOT NULL AS is_enrolled, failed_sign_ins, signed_in_at, disabled_at,
created_at, created_by
"""
# The token was found before it is marked as used, so that one of a reader costs a write a minute at most.
_CREDENTIAL = """
WITH found AS (
    SELECT t.id, t.last_used_at, o.name, o.role,
        extract(epoch FROM t.expires_at - now())::float8 AS expires_in_s
    FROM operator_tokens t JOIN operators o ON o.id = t.operator_id
    WHERE t.secret_hash = $1 AND t.revoked_at IS NULL AND t.expires_at > now() AND o.disabled_at IS NULL
),
used AS (
    UPDATE operator_tokens SET last_used_at = now() WHERE id IN (
        SELECT id FROM found WHERE last_used_at IS NULL OR last_used_at < now() - interval '1 minute'
    )
)
SELECT name, role, expires_in_s FROM found
"""
_GOOD = """
SELECT t.secret_hash FROM operator_tokens t JOIN operators o ON o.id = t.operator_id
WHERE t.revoked_at IS NULL AND t.expires_at > now() AND o.disabled_at IS NULL
ORDER BY t.created_at DESC LIMIT 10000
"""
_ADD = """
INSERT INTO operators (id, name, role, enrolment_hash, enrolment_expires_at, created_by)
VALUES ($1, $2, $3, $4, now() + make_interval(secs => $5), $6)
ON CONFLICT (name) DO UPDATE SET id = operators.id WHERE operators.enrolment_hash = $4
RETURNING enrolment_expires_at
"""
_ALL = f"SELECT {_COLUMNS} FROM operators ORDER BY created_at, id"  # noqa: S608 - constants
_ONE = f"SELECT {_COLUMNS} FROM operators WHERE name = $1"  # noqa: S608
# A reset takes everything away that the former password or a lost phone gave, and what was requested with it.
_RESET = """
WITH reset AS (
    UPDATE operators SET password_hash = NULL, totp_secret = NULL, enrolment_hash = $2,
        enrolment_expires_at = now() + make_interval(secs => $3)
    WHERE name = $1 RETURNING id, enrolment_expires_at
),
ended AS (
    UPDATE operator_tokens SET revoked_at = now()
    WHERE operator_id IN (SELECT id FROM reset) AND revoked_at IS NULL
),
forgotten AS (DELETE FROM operator_addresses WHERE operator_id IN (SELECT id FROM reset)),
withdrawn AS (
    UPDATE approvals SET status = 'expired'
    WHERE requested_by = 'operator:' || $1 AND status = 'pending' AND EXISTS (SELECT FROM reset)
)
SELECT enrolment_expires_at FROM reset
"""
_ENROL = """
UPDATE operators SET password_hash = $3, totp_secret = $4, totp_last_step = 0, enrolment_hash = NULL,
    enrolment_expires_at = NULL
WHERE name = $1 AND enrolment_hash = $2 AND enrolment_expires_at > now() AND disabled_at IS NULL RETURNING id
"""
_MAY_ENROL = """
SELECT id FROM operators
WHERE name = $1 AND enrolment_hash = $2 AND enrolment_expires_at > now() AND disabled_at IS NULL
"""
_CREDENTIALS = """
SELECT id, password_hash, totp_secret, disabled_at IS NOT NULL AS is_disabled, failed_sign_ins,
    EXISTS (
        SELECT FROM operator_addresses a WHERE a.operator_id = o.id AND a.address = $2
    ) AS is_known_address
FROM operators o WHERE name = $1
"""
_USE_STEP = """
UPDATE operators SET totp_last_step = $2
WHERE id = $1 AND totp_last_step < $2 AND disabled_at IS NULL RETURNING id
"""
_COUNT_FAILURE = "UPDATE operators SET failed_sign_ins = failed_sign_ins + 1 WHERE name = $1"
_SIGNED_IN = """
WITH signed_in AS (
    UPDATE operators SET failed_sign_ins = 0, signed_in_at = now() WHERE id = $1 RETURNING id
),
there AS (
    INSERT INTO operator_addresses (operator_id, address, signed_in_at) SELECT id, $2, now() FROM signed_in
    ON CONFLICT (operator_id, address) DO UPDATE SET signed_in_at = now()
),
former AS (
    DELETE FROM operator_addresses WHERE operator_id = $1 AND signed_in_at < now() - interval '30 days'
        AND address <> $2
)
DELETE FROM operator_sign_in_throttle WHERE subject = ANY($3::text[])
"""
_CHANGE_LOGIN = """
WITH changed AS (UPDATE operators SET password_hash = $2 WHERE id = $1 RETURNING id),
ended AS (
    UPDATE operator_tokens SET revoked_at = now()
    WHERE operator_id IN (SELECT id FROM changed) AND kind = 'session' AND revoked_at IS NULL
        AND secret_hash <> $3
)
SELECT id FROM changed
"""
# The rows of all admins are locked, so that two admins who disable each other at once do not both succeed.
_ACTIVE_ADMINS = """
admins AS (
    SELECT name FROM operators WHERE role = 'admin' AND disabled_at IS NULL AND password_hash IS NOT NULL
    ORDER BY id FOR UPDATE
)
"""
_DISABLE = f"""
WITH {_ACTIVE_ADMINS},
disabled AS (
    UPDATE operators SET disabled_at = coalesce(disabled_at, now())
    WHERE name = $1 AND (name NOT IN (SELECT name FROM admins) OR (SELECT count(*) FROM admins) > 1)
    RETURNING id
),
ended AS (
    UPDATE operator_tokens SET revoked_at = now()
    WHERE operator_id IN (SELECT id FROM disabled) AND revoked_at IS NULL
),
withdrawn AS (
    UPDATE approvals SET status = 'expired'
    WHERE requested_by = 'operator:' || $1 AND status = 'pending' AND EXISTS (SELECT FROM disabled)
)
SELECT id FROM disabled
"""  # noqa: S608 - constants
_ENABLE = "UPDATE operators SET disabled_at = NULL WHERE name = $1 RETURNING id"
_SET_ROLE = f"""
WITH {_ACTIVE_ADMINS}
UPDATE operators SET role = $2
WHERE name = $1
    AND ($2 = 'admin' OR name NOT IN (SELECT name FROM admins) OR (SELECT count(*) FROM admins) > 1)
RETURNING id
"""  # noqa: S608
# A token must not survive what revokes the tokens of its operator at the same time. So the password and the
# caller's token, which were found before, are looked at once more, under locks for which a reset waits.
_ISSUE_SESSION = """
WITH owner AS (
    SELECT id FROM operators WHERE name = $2 AND disabled_at IS NULL AND password_hash = $6 FOR SHARE
)
INSERT INTO operator_tokens (id, operator_id, secret_hash, kind, name, expires_at)
SELECT $1, id, $3, 'session', $4, now() + make_interval(secs => $5) FROM owner
ON CONFLICT (id) DO UPDATE SET id = excluded.id
RETURNING expires_at
"""
# An API token that made others which live longer would never end.
_ISSUE_FOR_API = """
WITH issuer AS (
    SELECT o.id, t.kind, t.expires_at FROM operators o JOIN operator_tokens t ON t.operator_id = o.id
    WHERE o.name = $2 AND o.disabled_at IS NULL
        AND t.secret_hash = $6 AND t.revoked_at IS NULL AND t.expires_at > now()
    FOR SHARE
)
INSERT INTO operator_tokens (id, operator_id, secret_hash, kind, name, expires_at)
SELECT $1, id, $3, 'api', $4,
    least(now() + make_interval(secs => $5), CASE kind WHEN 'api' THEN expires_at END) FROM issuer
ON CONFLICT (id) DO UPDATE SET id = excluded.id
RETURNING expires_at
"""
_TOKENS = """
SELECT t.id, t.kind, t.name, t.created_at, t.expires_at, t.last_used_at
FROM operator_tokens t JOIN operators o ON o.id = t.operator_id
WHERE o.name = $1 AND t.revoked_at IS NULL AND t.expires_at > now() ORDER BY t.created_at, t.id
"""
_REVOKE = """
UPDATE operator_tokens t SET revoked_at = now() FROM operators o
WHERE o.id = t.operator_id AND o.name = $1 AND (t.id = $2 OR t.secret_hash = $3) AND t.revoked_at IS NULL
RETURNING t.id
"""
# An operator with a password signs in with it: a link never stands for one.
_ADD_LINK = """
WITH owner AS (
    INSERT INTO operators (id, name, role, created_by) VALUES ($1, $2, 'admin', $3)
    ON CONFLICT (name) DO UPDATE SET name = excluded.name
        WHERE operators.password_hash IS NULL AND operators.disabled_at IS NULL
    RETURNING id
)
INSERT INTO operator_links (code_hash, operator_id, expires_at)
SELECT $4, id, now() + make_interval(secs => $5) FROM owner
ON CONFLICT (code_hash) DO UPDATE SET code_hash = excluded.code_hash RETURNING expires_at
"""
_USE_LINK = """
WITH stale AS (DELETE FROM operator_links WHERE expires_at <= now()),
used AS (DELETE FROM operator_links WHERE code_hash = $1 AND expires_at > now() RETURNING operator_id),
owner AS (
    UPDATE operators o SET signed_in_at = now() FROM used
    WHERE o.id = used.operator_id AND disabled_at IS NULL
    RETURNING o.id, o.name
),
issued AS (
    INSERT INTO operator_tokens (id, operator_id, secret_hash, kind, name, expires_at)
    SELECT $2, id, $3, 'session', 'console link', now() + make_interval(secs => $4) FROM owner
    RETURNING expires_at
)
SELECT owner.name, issued.expires_at FROM owner, issued
"""
# Counted as failed before the password is checked, so that many at once are no way around the throttle; a
# sign-in that succeeds deletes the row. A refused one counts nothing: guesses from elsewhere must not move
# the time at which the operator may try again. The clock is read after the wait for the row's lock.
_RESERVE = """
WITH stale AS (
    DELETE FROM operator_sign_in_throttle WHERE subject <> $1 AND subject IN (
        SELECT subject FROM operator_sign_in_throttle WHERE failed_at < now() - interval '1 day'
        ORDER BY failed_at LIMIT 10 FOR UPDATE SKIP LOCKED
    )
)
INSERT INTO operator_sign_in_throttle AS t (subject, failures, failed_at, next_at)
VALUES ($1, 1, clock_timestamp(), clock_timestamp())
ON CONFLICT (subject) DO UPDATE SET
    failures = CASE
        WHEN t.failed_at < clock_timestamp() - interval '1 hour' THEN 1 ELSE least(t.failures + 1, 1000)
    END,
    failed_at = clock_timestamp(),
    next_at = CASE
        WHEN t.failed_at < clock_timestamp() - interval '1 hour' OR t.failures + 1 < $2::integer
        THEN clock_timestamp()
        ELSE clock_timestamp()
            + make_interval(secs => least($3::float8, power(2, least(t.failures + 1 - $2, 20))))
    END
WHERE t.next_at <= clock_timestamp()
RETURNING failures
"""
_FORGET = "DELETE FROM operator_sign_in_throttle WHERE subject = ANY($1::text[])"
_NEXT = """
SELECT extract(epoch FROM next_at - now())::float8 AS wait_s FROM operator_sign_in_throttle WHERE subject = $1
"""
# One who was disabled in the last day counts, else an admin could disable all others and then act alone. So
# does one who was reset and may enrol again, else the other of two would act alone meanwhile.
_CAN_APPROVE = """
SELECT count(*) FROM operators
WHERE (disabled_at IS NULL OR disabled_at > now() - interval '1 day') AND role IN ('operator', 'admin')
    AND (password_hash IS NOT NULL OR (signed_in_at IS NOT NULL AND enrolment_expires_at > now()))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a sign-in is checked against. `is_known_address`: the operator has signed in from there before."""

    id: str
    password_hash: str | None
    totp_secret: str | None
    is_disabled: bool
    failed_sign_ins: int
    is_known_address: bool


@dataclass(frozen=True, slots=True)
class PostgresOperators:
    """Stores operators. Every method raises StoreUnavailableError without PostgreSQL.

    A `note` is written to the audit log in the transaction of the change, if anything is changed.
    """

    database: Database

    async def credential(self, secret_hash: bytes) -> Credential | None:
        """Return the operator's token with this SHA-256; None if it is not valid."""
        found = await self.database.repeat(_CREDENTIAL, secret_hash)
        if not found:
            return None
        role = OperatorRole(found[0]["role"])
        principal = Principal(actor_of(found[0]["name"]), CallerKind.OPERATOR, None, role.scopes, role)
        return Credential(principal, found[0]["expires_in_s"])

    async def good(self) -> frozenset[bytes]:
        """Return the hashes of the newest 10,000 valid tokens."""
        return frozenset([row["secret_hash"] for row in await self.database.repeat(_GOOD)])

    async def add(
        self,
        operator_id: str,
        name: str,
        role: OperatorRole,
        enrolment: bytes,
        valid_s: float,
        *,
        by: str,
        note: AuditNote | None = None,
    ) -> datetime | None:
        """Add an operator with the hash of an enrolment code; None if the name was ever given.

        Returns when the code expires.
        """
        values = (operator_id, name, role.value, enrolment, valid_s, by)
        found = await change_with_note(self.database, note, _ADD, *values)
        return found[0]["enrolment_expires_at"] if found else None

    async def all(self) -> Sequence[Operator]:
        """Return all operators, oldest first, also disabled ones."""
        return [_operator(dict(row.items())) for row in await self.database.repeat(_ALL)]

    async def operator(self, name: str) -> Operator | None:
        """Return the operator with this name."""
        found = await self.database.repeat(_ONE, name)
        return _operator(dict(found[0].items())) if found else None

    async def reset(
        self, name: str, enrolment: bytes, valid_s: float, *, note: AuditNote | None = None
    ) -> datetime | None:
        """Delete password and TOTP secret and revoke all tokens; None if there is no such operator."""
        found = await change_with_note(self.database, note, _RESET, name, enrolment, valid_s)
        return found[0]["enrolment_expires_at"] if found else None

    async def may_enrol(self, name: str, enrolment: bytes) -> bool:
        """Tell whether this enrolment code is valid for this name."""
        return bool(await self.database.repeat(_MAY_ENROL, name, enrolment))

    async def enrol(
        self,
        name: str,
        enrolment: bytes,
        password_hash: str,
        totp_secret: str,
        *,
        note: AuditNote | None = None,
    ) -> bool:
        """Use an enrolment code up; False if it is not valid."""
        stored = _write_totp_secret(self.database.encryption, name, totp_secret)
        values = (name, enrolment, password_hash, stored)
        return bool(await change_with_note(self.database, note, _ENROL, *values))

    async def credentials(self, name: str, address: str) -> Credentials | None:
        """Return what a sign-in from this address is checked against."""
        found = await self.database.repeat(_CREDENTIALS, name, address)
        if not found:
            return None
        row = found[0]
        return Credentials(
            id=row["id"],
            password_hash=row["password_hash"],
            totp_secret=read_totp_secret(self.database.encryption, name, row["totp_secret"]),
            is_disabled=row["is_disabled"],
            failed_sign_ins=row["failed_sign_ins"],
            is_known_address=row["is_known_address"],
        )

    async def use_step(self, operator_id: str, step: int) -> bool:
        """Use up a TOTP step; False if it, or a later one, was used before."""
        return bool(await self.database.repeat(_USE_STEP, operator_id, step))

    async def count_failure(self, name: str) -> None:
        """Count a failed sign-in of the operator with this name, if there is one."""
        await self.database.repeat(_COUNT_FAILURE, name)

    async def forget_failures(self, *subjects: str) -> None:
        """Forget the failed sign-ins of these subjects of the throttle."""
        await self.database.repeat(_FORGET, list(subjects))

    async def signed_in(self, operator_id: str, address: str, subjects: Sequence[str]) -> None:
        """Record a sign-in, and forget the failed ones before it."""
        await self.database.repeat(_SIGNED_IN, operator_id, address, list(subjects))

    async def set_password(
        self, operator_id: str, password_hash: str, *, token: bytes, note: AuditNote | None = None
    ) -> None:
        """Set a password, and revoke all sessions but the one of `token`."""
        await change_with_note(self.database, note, _CHANGE_LOGIN, operator_id, password_hash, token)

    async def disable(self, name: str, *, note: AuditNote | None = None) -> bool:
        """Disable an operator and revoke all tokens; False for the last admin who can sign in, and where
        there is no such operator."""
        return bool(await change_with_note(self.database, note, _DISABLE, name))

    async def enable(self, name: str, *, note: AuditNote | None = None) -> bool:
        """Enable a disabled operator; False if there is no such operator."""
        return bool(await change_with_note(self.database, note, _ENABLE, name))

    async def set_role(self, name: str, role: OperatorRole, *, note: AuditNote | None = None) -> bool:
        """Change an operator's role; False where it would leave no admin who can sign in, and if there is no
        such operator."""
        return bool(await change_with_note(self.database, note, _SET_ROLE, name, role.value))

    async def add_session(
        self, token_id: str, name: str, secret_hash: bytes, valid_s: float, *, password_hash: str
    ) -> datetime | None:
        """Add the token of a sign-in and return when it expires; None if the operator was disabled, or has
        another password than that of `password_hash` now."""
        values = (token_id, name, secret_hash, "sign-in", valid_s, password_hash)
        found = await self.database.repeat(_ISSUE_SESSION, *values)
        return found[0]["expires_at"] if found else None

    async def add_api_token(
        self,
        token_id: str,
        name: str,
        secret_hash: bytes,
        label: str,
        valid_s: float,
        *,
        made_with: bytes,
        note: AuditNote | None = None,
    ) -> datetime | None:
        """Add an API token and return when it expires: no later than `made_with`, if that is one too.

        None if the token with the SHA-256 `made_with` is not valid any more.
        """
        values = (token_id, name, secret_hash, label, valid_s, made_with)
        found = await change_with_note(self.database, note, _ISSUE_FOR_API, *values)
        return found[0]["expires_at"] if found else None

    async def tokens(self, name: str) -> Sequence[OperatorToken]:
        """Return an operator's valid tokens, oldest first."""
        return [OperatorToken(**dict(row.items())) for row in await self.database.repeat(_TOKENS, name)]

    async def revoke_token(
        self,
        name: str,
        *,
        token_id: str | None = None,
        secret_hash: bytes | None = None,
        note: AuditNote | None = None,
    ) -> bool:
        """Revoke an operator's token, by its id or its secret; False if there is none."""
        return bool(await change_with_note(self.database, note, _REVOKE, name, token_id, secret_hash))

    async def add_link(
        self, operator_id: str, name: str, code_hash: bytes, valid_s: float, *, by: str, note: AuditNote
    ) -> datetime | None:
        """Add a one-time link of the operator with this name, who becomes one with the role admin and without
        a password; None if the operator has a password or is disabled. Returns when the link expires."""
        values = (operator_id, name, by, code_hash, valid_s)
        found = await change_with_note(self.database, note, _ADD_LINK, *values)
        return found[0]["expires_at"] if found else None

    async def use_link(
        self, code_hash: bytes, token_id: str, secret_hash: bytes, valid_s: float
    ) -> tuple[str, datetime] | None:
        """Use a one-time link up and add the token of its session; return the operator's name and when the
        token expires. None if the link was used, has expired, or its operator is disabled."""
        found = await self.database.repeat(_USE_LINK, code_hash, token_id, secret_hash, valid_s)
        return (found[0]["name"], found[0]["expires_at"]) if found else None

    async def reserve_sign_in(self, subject: str, *, free: int, delay_max_s: float) -> float | None:
        """Count a sign-in as failed until it succeeds; return the seconds to wait if it is not allowed now.

        `free` failures in a row cost no delay; each later one doubles it, from 1 s to `delay_max_s`. An hour
        without a sign-in forgets the failures.
        """
        if await self.database.repeat(_RESERVE, subject, free, delay_max_s):
            return None
        found = await self.database.repeat(_NEXT, subject)
        return max(1.0, found[0]["wait_s"]) if found else 1.0

    async def able_to_approve(self) -> int:
        """Count the operators who can be the second one of an action, or could until a day ago."""
        return (await self.database.repeat(_CAN_APPROVE))[0]["count"]


def _operator(row: dict[str, object]) -> Operator:
    return Operator(**{**row, "role": OperatorRole(row["role"])})  # pyright: ignore[reportArgumentType]


def totp_place(name: str) -> str:
    """Return the place of an operator's TOTP secret, which is authenticated with its encrypted value."""
    return f"operators.totp_secret {name}"


def _write_totp_secret(encryption: Encryption | None, name: str, secret: str) -> bytes:
    """Return what the column `totp_secret` stores."""
    return secret.encode() if encryption is None else encryption.seal(totp_place(name), secret.encode())


def read_totp_secret(encryption: Encryption | None, name: str, stored: bytes | None) -> str | None:
    """Return the secret of what the column `totp_secret` stores. Raises DecryptionError."""
    if stored is None or not is_sealed(stored):
        return None if stored is None else stored.decode()
    return open_value(encryption, totp_place(name), stored).decode()
