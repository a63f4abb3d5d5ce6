"""Writes a backup of the database, and restores one into an empty database with all sends held."""

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from synccash.administration.database import target_database_url, with_database, write_audit_entry
from synccash.administration.errors import AdministrationError
from synccash.administration.maintenance.backup.encrypted_file import BackupKeyError, decrypt, encrypt
from synccash.administration.maintenance.backup.manifest import (
    Checksum,
    Manifest,
    check_file,
    file_parts,
    manifest_path,
    missing_keys,
    read_manifest,
    write_manifest,
)
from synccash.administration.maintenance.backup.programs import find_program, output_of, restore_archive
from synccash.administration.maintenance.migrating import migrate_and_grant
from synccash.payments.references import ReferenceKey
from synccash.settings.encryption_keys import EncryptionKeys, read_key
from synccash.settings.loader import Settings
from synccash.settings.secret import Secret, revealed
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.recovery import PostgresRecovery, hold_statement
from synccash.stores.postgres.pool import CONNECT_TIMEOUT_S
from synccash.stores.postgres.schema.migrations import MigrationError
from synccash.stores.postgres.schema.runtime_role import RuntimeRoleError

Progress = Callable[[int], None]
"""Is called with the number of bytes of each part."""
_FACTS = """
SELECT current_setting('server_version') AS postgresql,
    current_setting('server_version_num')::int / 10000 AS major,
    (SELECT max(version) FROM schema_migrations) AS schema
"""
_TARGET = """
SELECT current_setting('server_version_num')::int / 10000 AS major,
    (SELECT count(*) FROM pg_tables WHERE schemaname = 'public') AS tables
"""
# The numbers of transactions begin again in another cluster, and readers of events would wait for the former
# ones to end.
_LAST = """
SET search_path = public;
UPDATE events SET xact = '0';
{hold};
"""


@dataclass(frozen=True, slots=True)
class Restored:
    """What was restored, and what to see to before sends are released."""

    manifest: Manifest
    warnings: list[str]
    role: str | None
    recovery: dict[str, Any]


def _no_progress(_count: int) -> None:
    return


def back_up(settings: Settings, file: Path, progress: Progress = _no_progress) -> Manifest:
    """Write the database to `file`, and its manifest beside it. Raises AdministrationError.

    The file is a custom archive of pg_dump, encrypted where `backup_key` is set. It has its name only once it
    is complete.
    """
    for path in (file, manifest_path(file)):
        if path.exists():
            raise AdministrationError(f"{path} exists. Choose another name; no backup is overwritten")
    facts = with_database(settings, lambda database: _record_backup(database, file))
    url = settings.migration_database_url or target_database_url(settings)
    program = find_program("pg_dump", facts["major"])
    argv = [program, "--format=custom", "--no-owner", "--no-privileges", "--no-password"]
    checksum, parts = Checksum(), _counted(output_of(argv, url), progress)
    if settings.backup_key:
        parts = encrypt(read_key(settings.backup_key.reveal()), parts)
    _write_file(file, checksum.through(parts))
    installation = settings.installation_key
    manifest = Manifest(
        created_at=datetime.now(UTC),
        bytes=checksum.bytes,
        sha256=checksum.sha256,
        encrypted=bool(settings.backup_key),
        synccash=version("synccash"),
        postgresql=facts["postgresql"],
        schema=facts["schema"],
        installation_key=ReferenceKey.of(installation.reveal()).id if installation else None,
        encryption_keys=sorted(_encryption_keys(settings)),
    )
    write_manifest(file, manifest)
    return manifest


def restore(settings: Settings, file: Path, reason: str, progress: Progress = _no_progress) -> Restored:
    """Restore a backup into the empty database of the settings, with all sends held.

    The rows, the hold and the reset of the events are one transaction: no process ever sees the restored
    orders without it. Then migrates to this version. Raises AdministrationError.
    """
    if not reason.strip():
        raise AdministrationError("--reason: give the reason for the restore")
    url = settings.migration_database_url or settings.database_url
    if url is None:
        raise AdministrationError(
            "SYNCCASH_DATABASE_URL is not set. Set it to the empty database to restore into"
        )
    manifest = read_manifest(file)
    if manifest.encrypted and not settings.backup_key:
        raise AdministrationError(f"{file} is encrypted. Set SYNCCASH_BACKUP_KEY to the key of that time")
    check_file(file, manifest)
    major, hold = asyncio.run(_target(url, reason))
    parts = _counted(file_parts(file), progress)
    if manifest.encrypted and settings.backup_key:
        parts = decrypt(read_key(settings.backup_key.reveal()), parts)
    try:
        restore_archive(
            find_program("pg_restore", major),
            find_program("psql", major),
            url,
            parts,
            last=_LAST.format(hold=hold),
        )
    except BackupKeyError as error:
        raise AdministrationError(f"{error}. Nothing was restored") from error
    try:
        role = migrate_and_grant(settings)
    except (MigrationError, RuntimeRoleError) as error:
        raise AdministrationError(
            f"The backup is restored and all sends are held, but: {error}. Then run `synccash migrate`"
        ) from error
    at_owner = settings if settings.migration_database_url is None else _as_owner(settings)
    state = with_database(at_owner, lambda database: _record_restore(database, file, reason))
    return Restored(manifest, missing_keys(manifest, settings), role, state)


async def _record_backup(database: Database, file: Path) -> dict[str, Any]:
    [row] = await database.repeat(_FACTS)
    await write_audit_entry(database, "backup", file.name)
    return dict(row)


async def _record_restore(database: Database, file: Path, reason: str) -> dict[str, Any]:
    await write_audit_entry(database, "restore", file.name, reason)
    return asdict(await PostgresRecovery(database).state())


async def _target(url: Secret | str, reason: str) -> tuple[int, str]:
    """Return the version of an empty database's server, and the statement that holds sends there."""
    try:
        connection = await asyncpg.connect(revealed(url), timeout=CONNECT_TIMEOUT_S)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise AdministrationError(f"cannot connect to PostgreSQL: {error}") from error
    try:
        row = await connection.fetchrow(_TARGET)
        if row is None or row["tables"]:
            raise AdministrationError(
                "The database is not empty, and nothing is overwritten. Create an empty one, and set "
                "SYNCCASH_DATABASE_URL to it: createdb --owner=OWNER NAME"
            )
        return row["major"], await hold_statement(connection, f"restored a backup: {reason}")
    finally:
        await connection.close()


def _write_file(file: Path, parts: Iterable[bytes]) -> None:
    draft = file.with_name(f"{file.name}.partial")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as opened:
            for part in parts:
                opened.write(part)
            opened.flush()
            os.fsync(opened.fileno())
        draft.rename(file)
    except OSError as error:
        raise AdministrationError(f"{file}: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)


def _counted(parts: Iterable[bytes], progress: Progress) -> Iterator[bytes]:
    for part in parts:
        progress(len(part))
        yield part


def _encryption_keys(settings: Settings) -> list[int]:
    keys = settings.encryption_keys
    return list(EncryptionKeys.of(keys.reveal()).by_id) if keys else []


def _as_owner(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, database_url=settings.migration_database_url)
