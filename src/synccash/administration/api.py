"""HTTP client of the management API. Commands that change orders or breakers go through the running service,
which records them in its audit log or in the order's timeline."""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from synccash.administration.errors import AdministrationError
from synccash.administration.local_keys import local_api_url, local_key
from synccash.administration.token_file import stored_token
from synccash.settings.loader import Settings
from synccash.settings.secret import Secret

_TIMEOUT_S = 15.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_KEY_HINT = (
    "Sign in with `synccash login NAME`, or set SYNCCASH_OPERATOR_TOKEN to an operator's token or "
    "SYNCCASH_ADMIN_KEY to an admin key"
)
_HINTS = {
    "api_key_missing": _KEY_HINT,
    "api_key_unknown": _KEY_HINT,
    "service_unavailable": "`synccash health` says how PostgreSQL fails, and what to do",
}
"""What a command adds to a problem, by its code."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Turns redirects into errors: urllib would send the admin key to the redirect's target."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        return None


# Sends the key to the given address only, never through a proxy from the environment.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect).open


@dataclass(frozen=True, slots=True)
class ManagementApi:
    """Calls the API at `url` with an operator's token or an admin key; without one, what needs none.

    Follows no redirects and uses no proxy.
    """

    url: str
    key: Secret | None

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
        resource = "/".join(quote(part, safe=":") for part in path)
        if query:
            resource += f"?{urlencode(query)}"
        headers = {} if body is None else {"Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/api/v1/{resource}", data, headers, method=method)  # noqa: S310
        if self.key is not None:
            request.add_header("Authorization", f"Bearer {self.key.reveal()}")
        try:
            with _open(request, timeout=_TIMEOUT_S) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                raise AdministrationError(_error_text(error, self.url)) from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise AdministrationError(
                f"Cannot reach the API at {self.url} ({getattr(error, 'reason', error)}). Start "
                "`synccash up` or `synccash serve`, or give the API's address with --url"
            ) from error


def management_api(settings: Settings, url: str | None) -> ManagementApi:
    """Returns a client for `url`, by default that of the settings, of `synccash up` here, or of this machine.

    Takes the operator's token from the settings or from `synccash login`, else the admin key from the
    settings or from the data folder of `synccash up` here, whose key goes to no other address. Raises
    AdministrationError.
    """
    address = _address(settings, url)
    key = settings.operator_token or stored_token(address) or settings.admin_key
    if not key and (local := local_key("admin", address, settings)) is not None:
        key = Secret(local)
    if not key:
        raise AdministrationError(f"Nobody is signed in. {_KEY_HINT}")
    return ManagementApi(address, key)


def readiness(settings: Settings, url: str | None) -> dict[str, Any] | None:
    """Returns the answer of `/health/ready`, which needs no key and thus no database; None without one."""
    request = urllib.request.Request(f"{_address(settings, url)}/health/ready")  # noqa: S310
    with suppress(OSError, ValueError, http.client.HTTPException):
        try:
            with _open(request, timeout=_TIMEOUT_S) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return json.loads(error.read(65_536))
    return None


def anonymous_api(settings: Settings, url: str | None) -> ManagementApi:
    """Returns a client without a token, for sign-in and enrolment. Raises AdministrationError."""
    return ManagementApi(_address(settings, url), None)


def _address(settings: Settings, url: str | None) -> str:
    address = (url or settings.api_url or local_api_url(settings)).rstrip("/")
    if not address.startswith(("http://", "https://")):
        raise AdministrationError(f"{address}: expected the API's address as http(s)://host[:port]")
    return address


def _error_text(error: urllib.error.HTTPError, url: str) -> str:
    if error.code in _REDIRECTS:
        return (
            f"{url} answered with a redirect (HTTP {error.code}), which is not followed: "
            "give the final address of the API in --url"
        )
    with suppress(ValueError, KeyError, TypeError, OSError):
        problem = json.loads(error.read(65_536))
        detail = str(problem["detail"])
        return f"{detail} {_HINTS.get(problem.get('code'), '')}".rstrip()
    return f"{url} answered HTTP {error.code} without the error format of the management API: check --url"
