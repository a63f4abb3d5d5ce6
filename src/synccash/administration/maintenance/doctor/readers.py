"""Reads what the doctor judges: one function for each check, each with calls that change nothing."""

# redis-py leaves its keyword arguments untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
import contextlib
import os
import shutil
import ssl
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit
from uuid import uuid4

import msgspec
from cryptography import x509
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from synccash.administration.database import write_audit_entry
from synccash.administration.maintenance.doctor.probing import RailProbe, probe_rails
from synccash.administration.maintenance.doctor.readings import (
    CertificateReading,
    ClockReading,
    DatabaseReading,
    DiskReading,
    DuePaymentsReading,
    EncryptionReading,
    ProxyReading,
    PublicReading,
    RailReading,
    RoleReading,
    SchemaReading,
    SettingsReading,
    ValkeyReading,
)
from synccash.engine.system import SystemClock
from synccash.payments.errors import StoreUnavailableError
from synccash.payments.server_causes import DATABASE_CAUSES, VALKEY_CAUSES, ServerCause
from synccash.rails.http.system_lookups import SystemLookups
from synccash.rails.http.transport import Transport, TransportFailure
from synccash.resilience.client_address import trusted_networks
from synccash.settings.allowances import ALLOWANCES, read_allowances
from synccash.settings.live_mode import insecure_settings, is_local_host, live_rails
from synccash.settings.loader import Settings, SettingsError
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.recovery import PostgresRecovery
from synccash.stores.postgres.schema.lookup_key import is_lookup_key_wrong
from synccash.stores.postgres.schema.runtime_role import RoleCheck
from synccash.stores.valkey.client import UNREACHABLE, build_client, failure_state

_SERVER = """
SELECT current_setting('server_version') AS version,
    current_setting('server_version_num')::int / 10000 AS major,
    pg_is_in_recovery() AS is_standby,
    current_setting('transaction_read_only')::boolean AS is_read_only,
    coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS is_encrypted
"""
_HAS_SCHEMA = "SELECT to_regclass('schema_migrations') IS NOT NULL AS has_schema"
_HAS_DUE_PAYMENTS = "SELECT to_regclass('due_payments') IS NOT NULL AS has_due_payments"
# The ids of payments increase with time, so this reads the end of the primary key.
_MISSING_DUE_PAYMENTS = """
SELECT count(*) AS examined, count(*) FILTER (
    WHERE due_at IS NOT NULL AND NOT EXISTS (SELECT FROM due_payments d WHERE d.payment_id = newest.id)
) AS missing
FROM (SELECT id, due_at FROM payments ORDER BY id DESC LIMIT 10000) newest
"""
_NOW = "SELECT extract(epoch FROM clock_timestamp())::float8 AS now"
_ROLE = "SELECT current_user AS role"
_REQUIRED = ("database_url", "installation_key", "encryption_keys", "lookup_key")
_HTTP_TIMEOUT_S = 5.0
_HTTPS_PORT = 443
_VALKEY_DEADLINE_S = 2.0


class NotApplicableError(Exception):
    """There is nothing to check; the text says why."""


class ServerFailedError(Exception):
    """A server gave no answer. `remedy`: what to do about it."""

    def __init__(self, cause: ServerCause, said: str) -> None:
        super().__init__(f"{cause.sentence.removesuffix('.')} ({said})")
        self.remedy = cause.action


@dataclass(slots=True)
class Subject:
    """The installation that is examined. `database` is None where the settings name none.

    `check_settings` raises SettingsError where no process could start. `is_local`: the database is that of
    a `synccash up` in this folder; `local_valkey` is the URL of its Valkey. What several checks need is read
    once.
    """

    settings: Settings
    database: Database | None
    is_local: bool
    check_settings: Callable[[Settings], None]
    local_valkey: str | None = None
    _rails: "asyncio.Task[RailProbe] | None" = field(default=None, init=False)
    _public: "asyncio.Task[PublicReading] | None" = field(default=None, init=False)

    def opened(self) -> Database:
        """Return the database. Raises NotApplicableError without one."""
        if self.database is None:
            raise NotApplicableError("no database is configured")
        return self.database

    async def rails(self) -> RailProbe:
        """Return what the rails answered; they are asked once."""
        if self._rails is None:
            self._rails = asyncio.create_task(probe_rails(self.settings, SystemClock()))
        return await asyncio.shield(self._rails)

    async def close(self) -> None:
        """End what outlasts the deadline of its check."""
        tasks: list[asyncio.Task[Any]] = [task for task in (self._rails, self._public) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def public(self) -> PublicReading:
        """Return what the public address answered; it is asked once."""
        if self._public is None:
            self._public = asyncio.create_task(_read_public(self.settings))
        return await asyncio.shield(self._public)


async def read_settings(subject: Subject) -> SettingsReading:
    """Check the settings as a process does at its start."""
    settings, problems = subject.settings, list[str]()
    try:
        # What is insecure is a finding of its own.
        subject.check_settings(msgspec.structs.replace(settings, allow_insecure=", ".join(ALLOWANCES)))
    except SettingsError as error:
        problems += str(error).splitlines()
    return SettingsReading(
        problems=problems,
        insecure=insecure_settings(settings),
        allowed=read_allowances(settings.allow_insecure),
        missing=[name for name in _REQUIRED if not getattr(settings, name)],
        is_local=subject.is_local,
    )


async def read_database(subject: Subject) -> DatabaseReading:
    """Ask the server for its version, its role and what it keeps of a commit."""
    database = subject.opened()
    try:
        [row] = await database.repeat(_SERVER)
    except StoreUnavailableError as error:
        state = "silent" if _is_late(error) else "away"
        raise ServerFailedError(DATABASE_CAUSES[state], str(error)) from error
    durability = await PostgresRecovery(database).durability()
    return DatabaseReading(**dict(row), weaknesses=durability.weaknesses())


def _is_late(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, TimeoutError):
            return True
        error = error.__cause__
    return False


async def write_entry(subject: Subject) -> None:
    """Write this run to the audit log, as each action with database credentials."""
    [row] = await subject.opened().repeat(_HAS_SCHEMA)
    if not row["has_schema"]:
        raise NotApplicableError("the database has no audit log yet")
    await write_audit_entry(subject.opened(), "doctor", "installation")


async def read_schema(subject: Subject) -> SchemaReading:
    """Compare the migrations of the database with those of this program."""
    database = subject.opened()
    [row] = await database.repeat(_HAS_SCHEMA)
    applied = await database.repeat("SELECT version FROM schema_migrations") if row["has_schema"] else []
    folder = files("synccash.stores.postgres") / "migrations"
    known = {one.name.partition("_")[0] for one in folder.iterdir() if one.name.endswith(".sql")}
    return SchemaReading(applied=frozenset(row["version"] for row in applied), known=frozenset(known))


async def read_role(subject: Subject) -> RoleReading:
    """Compare the rights of the role with those that the service needs."""
    database = subject.opened()
    [row] = await database.repeat(_ROLE)
    check = RoleCheck(database)
    return RoleReading(
        role=row["role"],
        excess=await check.notice(),
        missing=await check.lacking(),
        is_local=subject.is_local,
    )


async def read_due_payments(subject: Subject) -> DuePaymentsReading:
    """Look among the newest payments for those that are due and that no worker finds."""
    database = subject.opened()
    [row] = await database.repeat(_HAS_DUE_PAYMENTS)
    if not row["has_due_payments"]:
        raise NotApplicableError("the schema has no due_payments yet")
    [row] = await database.repeat(_MISSING_DUE_PAYMENTS)
    return DuePaymentsReading(missing=row["missing"], examined=row["examined"])


async def read_encryption(subject: Subject) -> EncryptionReading:
    """Try the keys on the newest orders."""
    database = subject.opened()
    return EncryptionReading(
        has_keys=database.encryption is not None,
        is_lookup_key_wrong=await is_lookup_key_wrong(database),
    )


async def read_valkey(subject: Subject) -> ValkeyReading:
    """Ask Valkey for its version and role, and write a key that ends by itself."""
    url = subject.settings.valkey_url or subject.local_valkey
    if url is None:
        raise NotApplicableError("valkey_url is not set: limits and breakers count per process")
    client = build_client(url, deadline_s=_VALKEY_DEADLINE_S)
    try:
        try:
            await client.ping()
        except UNREACHABLE as error:
            cause = VALKEY_CAUSES[failure_state(error).value]
            raise ServerFailedError(cause, str(error) or type(error).__name__) from error
        facts, refusal = await _valkey_facts(client), None
        try:
            await client.set(f"synccash:doctor:{uuid4()}", "1", px=1_000)
        except ResponseError as error:
            refusal = str(error)
        return ValkeyReading(
            version=str(facts.get("valkey_version") or facts.get("redis_version") or "of unknown version"),
            role=str(facts.get("role", "unknown")),
            may_write=refusal is None,
            refusal=refusal,
        )
    finally:
        await client.aclose()


async def _valkey_facts(client: Redis) -> dict[str, Any]:
    """Return what INFO says; nothing where the user may not ask."""
    try:
        return await client.info()
    except ResponseError:
        return {}


async def read_rails(subject: Subject) -> Sequence[RailReading]:
    """Ask each rail one harmless question."""
    return (await subject.rails()).rails


async def read_clocks(subject: Subject) -> Sequence[ClockReading]:
    """Compare this host's clock with the database's and the rails'."""
    found = list((await subject.rails()).clocks)
    if subject.database is not None:
        # The first statement opens the connection, which would count as uncertainty.
        await subject.database.repeat(_NOW)
        began = time.time()
        [row] = await subject.database.repeat(_NOW)
        ended = time.time()
        found.insert(
            0,
            ClockReading(
                source="the database",
                offset_s=row["now"] - (began + ended) / 2,
                uncertainty_s=(ended - began) / 2,
            ),
        )
    return found


async def read_disks(subject: Subject) -> Sequence[DiskReading]:
    """Read the free space where the service may write: its folder and the one for temporary files."""
    del subject
    devices: dict[int, str] = {}
    for path in (str(Path.cwd()), tempfile.gettempdir()):
        devices.setdefault(os.stat(path).st_dev, path)  # noqa: PTH116 - the device alone
    return [_disk(path) for path in devices.values()]


def _disk(path: str) -> DiskReading:
    usage = shutil.disk_usage(path)
    return DiskReading(path=path, free=usage.free, total=usage.total)


async def read_certificates(subject: Subject) -> Sequence[CertificateReading]:
    """Read the certificate of the settings, and the one that the public address shows."""
    settings, public = subject.settings, urlsplit(subject.settings.public_url)
    found: list[CertificateReading] = []
    if settings.tls_certificate:
        host = None if is_local_host(public.hostname) else public.hostname
        found.append(_certificate_in(settings.tls_certificate, host))
    if public.scheme == "https" and not is_local_host(public.hostname):
        found.append(await _served_certificate(public, (await subject.public()).addresses))
    return found


def _certificate_in(path: str, host: str | None) -> CertificateReading:
    return _certificate_of(path, host, Path(path).read_bytes())


def _certificate_of(
    where: str, host: str | None, data: bytes, error: str | None = None
) -> CertificateReading:
    load = x509.load_pem_x509_certificate if b"-----BEGIN" in data else x509.load_der_x509_certificate
    try:
        certificate = load(data)
    except ValueError as problem:
        return CertificateReading(where=where, host=host, error=f"the certificate cannot be read: {problem}")
    return CertificateReading(
        where=where,
        host=host,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        names=_names(certificate),
        error=error,
    )


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [
        *names.get_values_for_type(x509.DNSName),
        *map(str, names.get_values_for_type(x509.IPAddress)),
    ]


async def _served_certificate(public: SplitResult, addresses: Sequence[str]) -> CertificateReading:
    host, port = public.hostname or "", public.port or 443
    where, error = f"{host}:{port}", None
    if not addresses:
        raise NotApplicableError(f"{where} was not asked for its certificate: its name cannot be resolved")
    try:
        data = await _shown_certificate(host, addresses[0], port, ssl.create_default_context())
    except ssl.SSLCertVerificationError as refused:
        error = f"clients refuse the certificate: {refused.verify_message}"
        # Only the dates and names are read from a certificate that nobody trusts.
        lenient = ssl.create_default_context()
        lenient.check_hostname, lenient.verify_mode = False, ssl.CERT_NONE
        data = await _shown_certificate(host, addresses[0], port, lenient)
    except ssl.SSLError as refused:
        return CertificateReading(where=where, host=host, error=f"the TLS handshake failed: {refused.reason}")
    except OSError as unreached:
        raise NotApplicableError(f"{where} cannot be connected to from this host: {unreached}") from unreached
    return _certificate_of(where, host, data, error)


async def _shown_certificate(host: str, address: str, port: int, context: ssl.SSLContext) -> bytes:
    _, writer = await asyncio.open_connection(address, port, ssl=context, server_hostname=host)
    try:
        shown: ssl.SSLObject = writer.get_extra_info("ssl_object")
        return shown.getpeercert(binary_form=True) or b""
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def read_public(subject: Subject) -> PublicReading:
    """Resolve the public address and ask it whether it is this service."""
    return await subject.public()


async def _read_public(settings: Settings) -> PublicReading:
    url, is_live = settings.public_url, bool(live_rails(settings))
    parts = urlsplit(url)
    # A lookup in a thread of the event loop could not be left, and the command would wait for it at its end.
    lookups = SystemLookups()
    try:
        async with asyncio.timeout(_HTTP_TIMEOUT_S):
            found = await lookups.resolve(parts.hostname or "", parts.port or _HTTPS_PORT)
    except (OSError, TimeoutError):
        return PublicReading(url=url, is_live=is_live, error="its name cannot be resolved")
    finally:
        lookups.close()
    addresses = sorted({str(address[0]) for *_, address in found})
    transport = Transport()
    try:
        answer = await transport.request(
            "GET", f"{url.rstrip('/')}/health/live", headers={}, timeout_s=_HTTP_TIMEOUT_S
        )
    finally:
        await transport.aclose()
    if isinstance(answer, TransportFailure):
        return PublicReading(url=url, is_live=is_live, addresses=addresses, error=answer.fault.value)
    return PublicReading(
        url=url,
        is_live=is_live,
        addresses=addresses,
        status=answer.status,
        is_ours=answer.status == 200 and _is_alive(answer.body),
        proxy=answer.headers.get("Via") or answer.headers.get("Server"),
    )


def _is_alive(body: bytes) -> bool:
    try:
        return msgspec.json.decode(body, type=dict[str, Any]).get("status") == "ok"
    except msgspec.MsgspecError:
        return False


async def read_proxies(subject: Subject) -> ProxyReading:
    """Read the trusted proxies, and look for signs of a proxy."""
    settings, public = subject.settings, await subject.public()
    signs: list[str] = []
    if public.is_ours and public.proxy is not None:
        signs.append(f"public_url is answered by {public.proxy}")
    is_remote = not is_local_host(urlsplit(settings.public_url).hostname)
    if is_remote and settings.public_url.startswith("https://") and not settings.tls_certificate:
        signs.append("public_url is https, and the service itself serves http")
    return ProxyReading(trusted=trusted_networks(settings.trusted_proxies), signs=signs)
