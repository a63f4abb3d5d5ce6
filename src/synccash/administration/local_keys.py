"""The keys and the API address of a `synccash up` in this folder, for commands that are given none."""

import json
from contextlib import suppress
from urllib.parse import urlsplit

from synccash.administration.database import DATA_DIR
from synccash.administration.errors import AdministrationError
from synccash.settings.loader import Settings

_LOOPBACK_OF_WILDCARD = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound here


def local_key(role: str, address: str, settings: Settings) -> str | None:
    """Return the key that `synccash up` made here for the role, `admin` or `test`; None if there is none.

    Raises AdministrationError where `address` is not that of the installation here: an API elsewhere must not
    get its key.
    """
    key, own = _read("keys.json", role), local_api_url(settings)
    if key is not None and _endpoint(address) != _endpoint(own):
        raise AdministrationError(
            f"The {role} key in {DATA_DIR} belongs to the installation of this folder at {own} and is not "
            f"sent to {address}. Use a key or a sign-in of that API"
        )
    return key


def _endpoint(address: str) -> tuple[str, str | None, int | None] | None:
    """Return what two addresses of one API have in common; None for an address that cannot be read."""
    with suppress(ValueError):
        parts = urlsplit(address)
        host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
        return parts.scheme, host, parts.port
    return None


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
