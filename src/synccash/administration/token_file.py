"""The file in which `synccash login` stores the operator's token, for each API address."""

import json
import os
from contextlib import suppress
from pathlib import Path

from synccash.settings.secret import Secret


def _path() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "synccash" / "tokens.json"


def stored_token(address: str) -> Secret | None:
    """Returns the token for this address of an API; it is sent to no other address."""
    token = _read().get(address)
    return None if token is None else Secret(token)


def store_token(address: str, token: str) -> None:
    """Stores the token for this address; only this user can read the file."""
    _write({**_read(), address: token})


def delete_token(address: str) -> None:
    """Deletes the token for this address."""
    _write({name: token for name, token in _read().items() if name != address})


def _read() -> dict[str, str]:
    with suppress(OSError, ValueError):
        found = json.loads(_path().read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return {str(name): str(token) for name, token in found.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return {}


def _write(tokens: dict[str, str]) -> None:
    path = _path()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - the mode must be right from the start
        json.dump(tokens, file)
    draft.replace(path)
