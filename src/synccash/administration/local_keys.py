"""The keys and the API address of a `synccash up` in this folder, for commands that are given none."""

import json
from contextlib import suppress

from synccash.administration.database import DATA_DIR
from synccash.settings.loader import Settings

_LOOPBACK_OF_WILDCARD = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound here


def local_key(role: str) -> str | None:
    """Return the key that `synccash up` made for the role, `admin` or `test`; None if there is none here."""
    return _read("keys.json", role)


def _read(file: str, name: str) -> str | None:
    with suppress(OSError, ValueError, KeyError):
        return str(json.loads((DATA_DIR / file).read_text(encoding="utf-8"))[name])
    return None


def local_api_url(settings: Settings) -> str:
    """Return the address of the `synccash up` that runs in this folder, else that of the API which these
    settings start on this machine."""
    # The file exists while `up` runs.
    if (running := _read("api.json", "url")) is not None:
        return running
    host = _LOOPBACK_OF_WILDCARD.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
