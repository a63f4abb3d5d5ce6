"""Calls of the management API from a shell: whatever moves something goes through the running service, which
notes it in its audit log or in the order's timeline."""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from synccash.administration.database import DATA_DIR
from synccash.administration.errors import AdministrationError
from synccash.settings.loader import Settings

_PATIENCE_S = 15.0
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound here
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_KEY_HINT = "set SYNCCASH_ADMIN_KEY to an operator's key, such as `synccash keys create --admin` makes"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Leaves a redirect as the error that it is: urllib would send the key along to wherever it leads."""

    def redirect_request(self, *_given: Any, **_named: Any) -> None:
        return None


# The key goes to the address that was given, not through a proxy that the environment happens to name.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect).open


@dataclass(frozen=True, slots=True)
class ManagementApi:
    """The API at `url`, asked with an operator's key. Follows no redirect and uses no proxy."""

    url: str
    key: str = field(repr=False)

    def get(self, *path: str, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """GET a resource. Raises AdministrationError."""
        return self._call("GET", path, None, query)

    def post(self, *path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """POST to a resource. Raises AdministrationError."""
        return self._call("POST", path, body)

    def _call(
        self,
        method: str,
        path: tuple[str, ...],
        body: dict[str, Any] | None,
        query: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        where = "/".join(quote(part, safe=":") for part in path)
        if query:
            where += f"?{urlencode(query)}"
        headers = {"Authorization": f"Bearer {self.key}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/api/v1/{where}", data, headers, method=method)  # noqa: S310
        try:
            with _open(request, timeout=_PATIENCE_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise AdministrationError(_told(error, self.url)) from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise AdministrationError(
                f"no API answers at {self.url} ({getattr(error, 'reason', error)}): is `synccash up` or "
                "`synccash serve` running? Another address goes into --url"
            ) from error


def management_api(settings: Settings, url: str | None) -> ManagementApi:
    """The API at `url`, or this machine's, with the key of the settings or of `synccash up` in this folder.

    Raises AdministrationError.
    """
    host = _EVERYWHERE.get(settings.host, settings.host)
    here = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
    address = (url or here).rstrip("/")
    if not address.startswith(("http://", "https://")):
        raise AdministrationError(f"--url {address}: expected http(s)://host[:port]")
    key = settings.admin_key or _key_of_up()
    if key is None:
        raise AdministrationError(f"there is no key to ask with: {_KEY_HINT}")
    return ManagementApi(address, key)


def _key_of_up() -> str | None:
    with suppress(OSError, ValueError, KeyError):
        return str(json.loads((DATA_DIR / "keys.json").read_text(encoding="utf-8"))["admin"])
    return None


def _told(error: urllib.error.HTTPError, url: str) -> str:
    if error.code in _REDIRECTS:
        return (
            f"{url} answered with a redirect (HTTP {error.code}), which is not followed: "
            "give the final address of the API in --url"
        )
    with suppress(ValueError, KeyError, TypeError, OSError):
        detail = str(json.loads(error.read(65_536))["detail"])
        return f"{detail}; {_KEY_HINT}" if error.code in (401, 403) else detail
    return f"{url} answered HTTP {error.code}, and not as the management API does: is --url right?"
