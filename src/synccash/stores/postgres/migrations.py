"""Brings a database to the schema that this version of the service speaks."""

import os
import shutil
import subprocess
import sys
from importlib.resources import as_file, files
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from synccash.settings.secret import URL_HINT, Secret, SecretUrl, revealed

PATIENCE_S = 300.0
_OURS = "synccash.stores.postgres"


class MigrationError(Exception):
    """The database was not brought up to date; the text says why. Running it again is safe."""


def migrate(url: Secret | str) -> None:
    """Apply what is missing, in order, each file in one transaction.

    Safe to call at any time and from many processes at once: they wait for each other. Raises MigrationError.
    """
    program, target = _dbmate(), SecretUrl(revealed(url))
    if not target.readable:
        raise MigrationError(f"SYNCCASH_DATABASE_URL cannot be used: {URL_HINT}")
    # Only what dbmate needs: its own DBMATE_* settings and a stray .env must not steer it.
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
                timeout=PATIENCE_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise MigrationError(
                f"migrating took more than {PATIENCE_S:.0f} s: another migration may hold the lock; see "
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


def _for_dbmate(url: SecretUrl) -> str:
    """dbmate insists on TLS where the URL says nothing; asyncpg takes what the server offers."""
    parts = urlsplit(url.reveal())
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    query.setdefault("sslmode", "prefer")
    return parts._replace(query=urlencode(query)).geturl()


def _reason(output: str, url: SecretUrl) -> str:
    lines = [line.removeprefix("Error: ").strip() for line in output.splitlines() if line.strip()]
    told = lines[-1] if lines else "dbmate ended without a word"
    return f"migrating the database of SYNCCASH_DATABASE_URL failed: {url.mask_in(told)}"
