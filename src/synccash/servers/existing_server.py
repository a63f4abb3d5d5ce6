"""Finds the servers that another process runs on a data folder. Nothing is started or changed."""

from pathlib import Path

from synccash.servers.data_directory import DataDirectory
from synccash.servers.postgres import PASSWORD, postgres_url
from synccash.servers.valkey import PASSWORD as VALKEY_PASSWORD
from synccash.servers.valkey import socket_path, valkey_url


def running_database(data_dir: Path) -> str | None:
    """Return the URL of the database that runs on this folder; None if there is none that we may use."""
    try:
        directory = _directory(data_dir)
        home = directory.home
        if not (home / "postgres" / "postmaster.pid").exists() or not (home / PASSWORD).exists():
            return None
        return postgres_url(directory)
    except OSError:
        return None


def running_valkey(data_dir: Path) -> str | None:
    """Return the URL of the Valkey that runs on this folder; None if there is none that we may use."""
    try:
        directory = _directory(data_dir)
        if not socket_path(directory).exists() or not (directory.home / VALKEY_PASSWORD).exists():
            return None
        return valkey_url(directory)
    except OSError:
        return None


def _directory(data_dir: Path) -> DataDirectory:
    home = data_dir.resolve(strict=True)
    pointer = home / "elsewhere"
    if pointer.exists():
        home = Path(pointer.read_text(encoding="utf-8").strip())
    return DataDirectory(home, (home / "run").resolve(strict=True), None)
