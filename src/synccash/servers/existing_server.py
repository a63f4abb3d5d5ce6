"""Finds the database that another process runs on a data folder. Nothing is started or changed."""

from pathlib import Path

from synccash.servers.data_directory import DataDirectory
from synccash.servers.postgres import PASSWORD, postgres_url


def running_database(data_dir: Path) -> str | None:
    """Return the URL of the database that runs on this folder; None if there is none that we may use."""
    try:
        home = data_dir.resolve(strict=True)
        pointer = home / "elsewhere"
        if pointer.exists():
            home = Path(pointer.read_text(encoding="utf-8").strip())
        if not (home / "postgres" / "postmaster.pid").exists() or not (home / PASSWORD).exists():
            return None
        return postgres_url(DataDirectory(home, (home / "run").resolve(strict=True), None))
    except OSError:
        return None
