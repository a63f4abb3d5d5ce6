"""Migrates a database to the schema of this version of the service, with dbmate."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.resources import as_file, files
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import asyncpg

from synccash.settings.secret import URL_HINT, Secret, SecretUrl, revealed
from synccash.stores.postgres.hosts import ATTRIBUTE, host_urls
from synccash.stores.postgres.pool import connect_to_primary

TIMEOUT_S = 300.0
_OURS = "synccash.stores.postgres"


class MigrationError(Exception):
    """The migration failed; the text gives the reason. Running it again is safe."""


def migrate(url: Secret | str) -> None:
    """Apply the missing migrations in order, each file in one transaction.

    Safe to call at any time and from several processes at once: a lock serialises them. Raises
    MigrationError.
    """
    program, target = _dbmate(), SecretUrl(_primary_url(revealed(url)))
    if not target.readable:
        raise MigrationError(f"SYNCCASH_DATABASE_URL cannot be used: {URL_HINT}")
    # Pass only what dbmate needs, so that DBMATE_* variables and a .env file do not change what it does.
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "SYSTEMROOT") if name in os.environ}
    with as_file(files(_OURS) / "migrations") as folder:
        arguments = [program, "--env-file", os.devnull, "--migrations-dir", str(folder)]
        arguments += ["--migration-lock", "--no-dump-schema", "migrate", "--strict"]
        try:
            done = subprocess.run(  # noqa: S603 - a program of the wheel, arguments of our own
                arguments,
                env={**environment, "DATABASE_URL": _for_dbmate(target)},
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise MigrationError(
                f"migrating took more than {TIMEOUT_S:.0f} s: another migration may hold the lock; see "
                "pg_stat_activity, then run `synccash migrate` again"
            ) from None
    if done.returncode != 0:
        raise MigrationError(_reason(done.stderr, target))


def _dbmate() -> str:
    beside = Path(sys.executable).with_name("dbmate")
    program = str(beside) if beside.exists() else shutil.which("dbmate")
    if program is None:
        raise MigrationError("the program dbmate is missing; install it with: pip install 'synccash[server]'")
    return program


def _primary_url(url: str) -> str:
    """Return the URL of the host that takes writes: dbmate knows only one host. Raises MigrationError."""
    urls = host_urls(url)
    if len(urls) == 1:
        return url
    # In a thread of its own, because the caller may run an event loop.
    with ThreadPoolExecutor(1) as threads:
        found = threads.submit(asyncio.run, _first_primary(urls)).result()
    if found is None:
        raise MigrationError("no host of SYNCCASH_DATABASE_URL takes writes now; try again when one does")
    return found


async def _first_primary(urls: Sequence[str]) -> str | None:
    for url in urls:
        with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection = await connect_to_primary(url)
            await connection.close()
            return url
    return None


def _for_dbmate(url: SecretUrl) -> str:
    """Add `sslmode=prefer`, asyncpg's default, to a URL without a mode: dbmate would require TLS."""
    parts = urlsplit(url.reveal())
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    query.setdefault("sslmode", "prefer")
    # The driver of dbmate would send it to the server, which does not know it.
    query.pop(ATTRIBUTE, None)
    return parts._replace(query=urlencode(query)).geturl()


def _reason(output: str, url: SecretUrl) -> str:
    lines = [line.removeprefix("Error: ").strip() for line in output.splitlines() if line.strip()]
    reason = lines[-1] if lines else "dbmate failed without an error message"
    return f"migrating the database of SYNCCASH_DATABASE_URL failed: {url.mask_in(reason)}"
