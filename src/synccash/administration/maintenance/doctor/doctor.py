"""Examines the installation of the settings of this shell."""

import asyncio
from collections.abc import Callable

from synccash.administration.database import DATA_DIR, target_database_url, target_encryption
from synccash.administration.errors import AdministrationError
from synccash.administration.maintenance.doctor.examination import CheckResult, examine
from synccash.administration.maintenance.doctor.readers import Subject
from synccash.servers.existing_server import running_valkey
from synccash.settings.loader import Settings
from synccash.stores.encryption import Encryption
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.pool import connect

_CONNECTIONS = 3


def examine_installation(settings: Settings, check_settings: Callable[[Settings], None]) -> list[CheckResult]:
    """Return the results of all checks. The run is in the audit log of the database, where that takes it."""
    return asyncio.run(_examine(settings, check_settings))


async def _examine(settings: Settings, check_settings: Callable[[Settings], None]) -> list[CheckResult]:
    try:
        url = target_database_url(settings)
    except AdministrationError:
        return await examine(Subject(settings, None, False, check_settings))  # noqa: FBT003
    pool = await connect(url, min_size=0, max_size=_CONNECTIONS)
    try:
        database = Database(pool, encryption=_encryption(settings))
        is_local = settings.database_url is None
        local_valkey = running_valkey(DATA_DIR / "servers") if is_local else None
        return await examine(Subject(settings, database, is_local, check_settings, local_valkey))
    finally:
        await pool.close()


def _encryption(settings: Settings) -> Encryption | None:
    """Return the keys; none where the settings are wrong, which the check of the settings reports."""
    try:
        return target_encryption(settings)
    except AdministrationError:
        return None
