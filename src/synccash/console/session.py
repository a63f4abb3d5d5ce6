"""The console's cookies and its protection against forged requests.

The session cookie holds the bearer token of a sign-in, so sessions are the rows of operator tokens in
PostgreSQL: each sign-in makes a new one, and whatever revokes the token ends the session.
"""

import hmac
from dataclasses import dataclass
from hashlib import sha256
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from synccash.middleware.refusal import Scope
from synccash.payments.access import OperatorRole
from synccash.payments.request import Tenant

_CSRF_PURPOSE = b"synccash console form"


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in operator."""

    token: str
    name: str
    role: OperatorRole

    @property
    def csrf(self) -> str:
        """The text that each form of this session carries."""
        return csrf_of(self.token)

    @property
    def token_hash(self) -> bytes:
        """The SHA-256 of the token, which is what the database holds."""
        return token_hash(self.token)


MERCHANT_TOKEN = "sk_session_"  # noqa: S105 - the prefix of tokens, none of them
"""The prefix of the tokens of merchants' sessions: an API key in the cookie is no session."""


@dataclass(frozen=True, slots=True)
class MerchantSession:
    """Somebody of a merchant, who has signed in with an API key. It reads, in the mode of that key."""

    token: str
    tenant: Tenant
    key_id: str

    @property
    def csrf(self) -> str:
        """The text that each form of this session carries."""
        return csrf_of(self.token)

    @property
    def token_hash(self) -> bytes:
        """The SHA-256 of the token, which is what the database holds."""
        return token_hash(self.token)


def token_hash(token: str) -> bytes:
    """Return the SHA-256 of a token."""
    return sha256(token.encode()).digest()


def csrf_of(secret: str) -> str:
    """Return the text that forms carry: only a page of this session can know it."""
    return hmac.new(secret.encode(), _CSRF_PURPOSE, sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class Cookies:
    """Names and attributes of the cookies. With `is_https` they have the prefix `__Host-`, which browsers
    accept from HTTPS only; plain HTTP is for localhost."""

    is_https: bool

    @property
    def session(self) -> str:
        """The cookie with the token of the sign-in."""
        return self._name("session")

    @property
    def form(self) -> str:
        """The cookie of a form that is sent before a sign-in."""
        return self._name("form")

    @property
    def notice(self) -> str:
        """The cookie with the result of an action, for the next page."""
        return self._name("notice")

    @property
    def theme(self) -> str:
        """The cookie with the colours that were chosen."""
        return self._name("theme")

    def set(self, name: str, value: str, max_age_s: int | None = None) -> str:
        """Return the `Set-Cookie` header of a cookie that no script can read."""
        age = "" if max_age_s is None else f"; Max-Age={max_age_s}"
        secure = "; Secure" if self.is_https else ""
        return f"{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{age}"

    def expire(self, name: str) -> str:
        """Return the `Set-Cookie` header that deletes a cookie."""
        return self.set(name, "", 0)

    def _name(self, name: str) -> str:
        return f"{'__Host-' if self.is_https else ''}synccash_console_{name}"


def cookies_of(scope: Scope) -> dict[str, str]:
    """Return the cookies of a request; none if the header cannot be read."""
    jar = SimpleCookie()
    for name, value in scope["headers"]:
        if name == b"cookie":
            try:
                jar.load(value.decode("latin-1"))
            except CookieError:
                return {}
    return {name: morsel.value for name, morsel in jar.items()}


def is_same_site(scope: Scope, public_url: str) -> bool:
    """Tell whether a request comes from a page of the console itself, as far as the browser says.

    Browsers send Sec-Fetch-Site or Origin with each POST; a program that sends neither holds no cookies of
    somebody else.
    """
    headers: dict[bytes, bytes] = dict(scope["headers"])
    site = headers.get(b"sec-fetch-site")
    if site is not None and site not in (b"same-origin", b"none"):
        return False
    origin = headers.get(b"origin")
    if origin is None:
        return True
    own = {headers.get(b"host", b"").decode("latin-1"), urlsplit(public_url).netloc}
    return urlsplit(origin.decode("latin-1")).netloc in own
