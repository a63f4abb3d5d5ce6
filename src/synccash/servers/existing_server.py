"""Finds the database of a data folder that another process runs. Nothing is started, made or changed."""

from pathlib import Path

from synccash.servers.data_directory import Place
from synccash.servers.postgres import PASSWORD, postgres_url


def running_database(data_dir: Path) -> str | None:
    """The URL of the database that runs on this folder; None where none does, or where it is not ours."""
    try:
        home = data_dir.resolve(strict=True)
        pointer = home / "elsewhere"
        if pointer.exists():
            home = Path(pointer.read_text(encoding="utf-8").strip())
        if not (home / "postgres" / "postmaster.pid").exists() or not (home / PASSWORD).exists():
            return None
        return postgres_url(Place(home, (home / "run").resolve(strict=True), None))
    except OSError:
        return None
