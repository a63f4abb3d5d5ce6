"""Migrates a database to the schema of this version of the service, with dbmate.

A migration waits for a lock for a moment only, because every statement of the service that needs the same
table waits behind it. When the moment is over, the migration is rolled back and tried again.
"""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import parse_qsl, urlencode, urlsplit

import asyncpg

from synccash.settings.secret import URL_HINT, Secret, SecretUrl, revealed
from synccash.stores.postgres.hosts import ATTRIBUTE, host_urls
from synccash.stores.postgres.pool import CONNECT_TIMEOUT_S, Connection, connect_to_primary

LOCK_TIMEOUT_S = 0.05
TIMEOUT_S = 3_600.0
_OURS = "synccash.stores.postgres"
_PAUSE_S = 0.5
_POLL_S = 0.2
# Polled, never waited for: a statement that waits holds a snapshot, and CREATE INDEX CONCURRENTLY of the
# migration that holds the lock would wait for that snapshot.
_LOCK = "SELECT pg_try_advisory_lock(1635083369, 4)"
_HAS_VERSIONS = "SELECT to_regclass('schema_migrations') IS NOT NULL"
_VERSIONS = "SELECT version FROM schema_migrations"
_WITHOUT_TRANSACTION = "-- migrate:up transaction:false"
_BUILT_CONCURRENTLY = re.compile(
    r"^CREATE (?:UNIQUE )?INDEX CONCURRENTLY IF NOT EXISTS (\w+)\s+ON (\w+)", re.MULTILINE
)
_INVALID = """
SELECT EXISTS (
    SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE NOT i.indisvalid AND c.relname = $1 AND pg_table_is_visible(c.oid)
)
"""
_HOLDERS = """
SELECT pid, backend_type, left(query, 60) AS query, extract(epoch FROM now() - xact_start)::int AS age_s
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND xact_start < now() - make_interval(secs => $1)
ORDER BY xact_start LIMIT 3
"""
# SQLSTATE 55P03 and 40P01; PostgreSQL may translate its texts.
_REFUSED_BY_POOLER = "unsupported startup parameter"
_LOCK_TIMEOUTS = ("55P03", "lock timeout", "40P01", "deadlock detected")


class MigrationError(Exception):
    """The migration failed; the text gives the reason. Running it again is safe."""


class _LockTimeoutError(Exception):
    """A statement waited for a lock longer than it may; everything of its transaction is rolled back."""


def _ignore(text: str) -> None:
    del text


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    target: SecretUrl
    folder: Path
    program: str
    lock_timeout_s: float
    deadline: float

    def left_s(self) -> float:
        return max(self.deadline - time.monotonic(), 0.0)


@dataclass(frozen=True, slots=True)
class _Step:
    """One run of dbmate: all files from the first one on. It applies those that are missing."""

    files: tuple[Path, ...]
    concurrent: bool

    @property
    def versions(self) -> frozenset[str]:
        """The versions of the files, as dbmate stores them."""
        return frozenset(file.name.partition("_")[0] for file in self.files)


def migrate(
    url: Secret | str,
    *,
    lock_timeout_s: float = LOCK_TIMEOUT_S,
    timeout_s: float = TIMEOUT_S,
    folder: Path | None = None,
    say: Callable[[str], None] = _ignore,
) -> None:
    """Apply the missing migrations in order, each file in one transaction.

    A file that begins with `-- migrate:up transaction:false` has one statement, which runs without a
    transaction: it builds an index CONCURRENTLY. Safe to call at any time, again after a crash, and from
    several processes at once: a lock serialises them. `say` gets a sentence before each new try. `folder`
    has other migrations than the service's. Raises MigrationError.
    """
    program, target = _dbmate(), SecretUrl(_primary_url(revealed(url)))
    if not target.readable:
        raise MigrationError(f"SYNCCASH_DATABASE_URL cannot be used: {URL_HINT}")
    with as_file(files(_OURS) / "migrations") as ours:
        run = _Run(
            target=target,
            folder=folder or ours,
            program=program,
            lock_timeout_s=lock_timeout_s,
            deadline=time.monotonic() + timeout_s,
        )
        # In a thread of its own, because the caller may run an event loop.
        with ThreadPoolExecutor(1) as threads:
            threads.submit(asyncio.run, _migrate(run, say)).result()


async def _migrate(run: _Run, say: Callable[[str], None]) -> None:
    try:
        connection = await asyncpg.connect(
            run.target.reveal(),
            timeout=CONNECT_TIMEOUT_S,
            server_settings={"lock_timeout": _milliseconds(run)},
        )
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise MigrationError(_reason(str(error) or "no answer in time", run.target)) from error
    try:
        await _hold_lock(connection, run)
        applied = await _applied(connection)
        for step in _steps(run.folder):
            # Each run of dbmate takes as long as all else that an up-to-date database needs.
            if not applied.issuperset(step.versions):
                await _apply_with_retries(connection, run, step, say)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise MigrationError(_reason(str(error), run.target)) from error
    finally:
        connection.terminate()


async def _apply_with_retries(
    connection: Connection, run: _Run, step: _Step, say: Callable[[str], None]
) -> None:
    tries = 1
    while True:
        try:
            await _drop_invalid_indexes(connection, step)
            return await _apply(run, step)
        except _LockTimeoutError as error:
            holders = await _holders(connection, run)
            text = f"{error}: it waited {run.lock_timeout_s} s for a lock{holders}"
            if run.left_s() == 0:
                raise MigrationError(
                    f"{text}. It was tried {tries} times. End what holds the lock, for example with "
                    "pg_cancel_backend, or wait for it; then run `synccash migrate` again"
                ) from None
        tries += 1
        say(f"{text}. Trying again.")
        await asyncio.sleep(min(_PAUSE_S, run.left_s()))


def _steps(folder: Path) -> list[_Step]:
    """Divide the files into runs of dbmate: those with a transaction together, each other by itself."""
    steps: list[_Step] = []
    files: list[Path] = []
    for file in sorted(folder.glob("*.sql")):
        files.append(file)
        concurrent = file.read_text(encoding="utf-8").startswith(_WITHOUT_TRANSACTION)
        if steps and not concurrent and not steps[-1].concurrent:
            steps.pop()
        steps.append(_Step(tuple(files), concurrent))
    return steps


async def _hold_lock(connection: Connection, run: _Run) -> None:
    while not await connection.fetchval(_LOCK):
        if run.left_s() == 0:
            raise MigrationError(
                "another `synccash migrate` still runs on this database; see pg_stat_activity, then run "
                "`synccash migrate` again"
            )
        await asyncio.sleep(_POLL_S)


async def _applied(connection: Connection) -> frozenset[str]:
    """Return the versions that the database has; none for a database without tables."""
    if not await connection.fetchval(_HAS_VERSIONS):
        return frozenset()
    return frozenset(row["version"] for row in await connection.fetch(_VERSIONS))


async def _drop_invalid_indexes(connection: Connection, step: _Step) -> None:
    """Drop what an interrupted CREATE INDEX CONCURRENTLY left: it slows writes and helps no query.

    The lock on the table waits for a build that is still in progress, which is then valid and stays.
    """
    if not step.concurrent:
        return
    for index, table in _BUILT_CONCURRENTLY.findall(step.files[-1].read_text(encoding="utf-8")):
        if not await connection.fetchval(_INVALID, index):
            continue
        try:
            async with connection.transaction():
                await connection.execute(f"LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE")
                if await connection.fetchval(_INVALID, index):
                    await connection.execute(f"DROP INDEX {index}")
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            raise _LockTimeoutError(f"dropping the unfinished index {index} has stopped") from None


async def _apply(run: _Run, step: _Step) -> None:
    with TemporaryDirectory(prefix="synccash-migrate-") as folder:
        for file in step.files:
            shutil.copy(file, folder)
        await _run_dbmate(run, step, folder)


async def _run_dbmate(run: _Run, step: _Step, folder: str) -> None:
    arguments = [run.program, "--env-file", os.devnull, "--migrations-dir", folder]
    arguments += ["--migration-lock", "--no-dump-schema", "migrate", "--strict"]
    # Pass only what dbmate needs, so that DBMATE_* variables and a .env file do not change what it does.
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "SYSTEMROOT") if name in os.environ}
    try:
        done = await asyncio.to_thread(
            subprocess.run,
            arguments,
            env={**environment, "DATABASE_URL": _for_dbmate(run, step)},
            capture_output=True,
            text=True,
            timeout=max(run.left_s(), CONNECT_TIMEOUT_S),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise MigrationError(
            "migrating took longer than migration_timeout_s allows, and was stopped; see pg_stat_activity, "
            "then run `synccash migrate` again"
        ) from None
    if done.returncode == 0:
        return
    if any(sign in done.stderr for sign in _LOCK_TIMEOUTS):
        started = re.findall(r"^Applying: (\S+)", done.stdout + done.stderr, re.MULTILINE)
        raise _LockTimeoutError(f"migration {started[-1]} was rolled back" if started else "nothing was done")
    raise MigrationError(_reason(done.stderr, run.target))


async def _holders(connection: Connection, run: _Run) -> str:
    rows = await connection.fetch(_HOLDERS, run.lock_timeout_s)
    told = [f"{row['backend_type']} {row['pid']} for {row['age_s']} s ({row['query']})" for row in rows]
    return f"; in a transaction are {', '.join(told)}" if told else ""


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


def _for_dbmate(run: _Run, step: _Step) -> str:
    """Add `sslmode=prefer`, asyncpg's default, to a URL without a mode: dbmate would require TLS."""
    parts = urlsplit(run.target.reveal())
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    query.setdefault("sslmode", "prefer")
    # The driver of dbmate would send it to the server, which does not know it.
    query.pop(ATTRIBUTE, None)
    # Who builds an index CONCURRENTLY waits for other transactions without holding anybody up.
    query["lock_timeout"] = "0" if step.concurrent else _milliseconds(run)
    return parts._replace(query=urlencode(query)).geturl()


def _milliseconds(run: _Run) -> str:
    return str(max(round(run.lock_timeout_s * 1_000), 1))


def _reason(output: str, url: SecretUrl) -> str:
    lines = [line.removeprefix("Error: ").strip() for line in output.splitlines() if line.strip()]
    reason = lines[-1] if lines else "dbmate failed without an error message"
    if _REFUSED_BY_POOLER in reason:
        reason += "; a pooler answers there: migrate over a direct connection (migration_database_url)"
    return f"migrating the database of SYNCCASH_DATABASE_URL failed: {url.mask_in(reason)}"
