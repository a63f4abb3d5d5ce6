"""One request to the console: who is signed in, the API on the operator's behalf, and the page to answer."""

import asyncio
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import parse_qsl, quote, unquote

from jinja2 import Environment
from litestar import Request, Response
from litestar.params import PathParameter

from synccash.api.request_context import REQUEST_ID
from synccash.api.roles import needed_role
from synccash.console.management_calls import Answer, ManagementCalls
from synccash.console.ports import ConsoleParts
from synccash.console.rendering import StaticFile
from synccash.console.session import (
    MERCHANT_TOKEN,
    Cookies,
    MerchantSession,
    Session,
    cookies_of,
    csrf_of,
    is_same_site,
    token_hash,
)
from synccash.console.snapshots import SnapshotHub
from synccash.middleware.refusal import Scope
from synccash.payments.access import CallerKind, Credential
from synccash.payments.operator import actor_of

AnyRequest = Request[Any, Any, Any]
Html = Response[bytes]
PathText = Annotated[str, PathParameter()]
"""A part of a page's address."""
_TOKEN_MAX = 200
_BODY_MAX = 65_536
_BODY_TIMEOUT_S = 10.0
_FIELDS_MAX = 100
THEMES = ("auto", "light", "dark")
CSRF_FIELD = "csrf"


class SignInNeededError(Exception):
    """Nobody is signed in, or the session has ended."""


class ForgedRequestError(Exception):
    """The request does not come from a form of this session."""


class UnreadableFormError(Exception):
    """The form is too large, took too long or is no form; the text says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What all requests share."""

    parts: ConsoleParts
    calls: ManagementCalls
    environment: Environment
    static_files: Mapping[str, StaticFile]
    cookies: Cookies
    hub: SnapshotHub


@dataclass(slots=True)
class Visit:
    """One request. `session` is None before a sign-in. `set_cookies` are the `Set-Cookie` headers that the
    answer gets."""

    request: AnyRequest
    site: Site
    session: Session | None = None
    merchant: MerchantSession | None = None
    form: dict[str, str] = field(default_factory=dict[str, str])
    set_cookies: list[str] = field(default_factory=list[str])

    @property
    def scope(self) -> Scope:
        """The ASGI scope of the request."""
        return self.request.scope  # pyright: ignore[reportReturnType]

    @property
    def signed_in(self) -> Session:
        """The session. Raises SignInNeededError."""
        if self.session is None:
            raise SignInNeededError
        return self.session

    @property
    def merchant_signed_in(self) -> MerchantSession:
        """The session of a merchant. Raises SignInNeededError."""
        if self.merchant is None:
            raise SignInNeededError
        return self.merchant

    @property
    def is_fragment(self) -> bool:
        """True if htmx asked, which puts the answer into a part of the page."""
        return self.request.headers.get("hx-request") == "true"

    def query(self, name: str) -> str | None:
        """Return a parameter of the address without spaces around it; None if it is empty or unprintable."""
        text = self.request.query_params.get(name, "").strip()
        return text if text and text.isprintable() else None

    async def api(
        self,
        method: str,
        *path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Call the API as the one who is signed in, and return the document. Raises CallRefusedError."""
        return (await self.call(method, *path, body=body, query=query, headers=headers)).document

    async def call(
        self,
        method: str,
        *path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Call the API as the one who is signed in, and return status and document."""
        return await self.site.calls.call(
            self.scope,
            method,
            path,
            token=self.signed_in.token if self.merchant is None else self.merchant.token,
            body=body,
            query=query,
            headers=headers,
        )

    def may(self, route: str) -> bool:
        """Tell whether the operator's role is enough for a route of the API, such as `POST /admin/merchants`.
        The API checks it again."""
        return self.session is not None and self.session.role.includes(needed_role(route))

    def page(self, template: str, status: int = 200, **context: Any) -> Html:
        """Render a page."""
        cookies = cookies_of(self.scope)
        notice = cookies.get(self.site.cookies.notice)
        if notice:
            self.set_cookies.append(self.site.cookies.expire(self.site.cookies.notice))
        theme = cookies.get(self.site.cookies.theme, "auto")
        text = self.site.environment.get_template(template).render(
            session=self.session,
            merchant_session=self.merchant,
            csrf=self._session_csrf(),
            may=self.may,
            path=self.request.url.path,
            theme=theme if theme in THEMES else "auto",
            notice=unquote(notice) if notice else None,
            request_id=self.scope.get(REQUEST_ID),
            waiting_count=0 if self.session is None else sum(self.site.parts.waiting().values()),
            **context,
        )
        return Response(text.encode(), status_code=status, media_type="text/html; charset=utf-8")

    def redirect(self, path: str) -> Html:
        """Send the browser to another page of the console, as after a form (303)."""
        return Response(b"", status_code=303, media_type="text/html", headers={"Location": path})

    def note(self, text: str) -> None:
        """Show a text on the next page."""
        value = quote(text[:1_000], safe="")
        self.set_cookies.append(self.site.cookies.set(self.site.cookies.notice, value, 60))

    async def read_form(self) -> None:
        """Read the form of a POST and check that it was sent from a page of this session.

        Raises ForgedRequestError and UnreadableFormError.
        """
        if not is_same_site(self.scope, self.site.parts.public_url):
            raise ForgedRequestError
        self.form = await _form_of(self.request)
        given = self.form.pop(CSRF_FIELD, "") or self.request.headers.get("x-csrf-token", "")
        if not _is_equal(given, self._expected_csrf()):
            raise ForgedRequestError

    def _session_csrf(self) -> str:
        one = self.merchant or self.session
        return "" if one is None else one.csrf

    def _expected_csrf(self) -> str:
        if self.merchant is not None or self.session is not None:
            return self._session_csrf()
        # Before a sign-in, a cookie of the form's own binds it to this browser.
        nonce = cookies_of(self.scope).get(self.site.cookies.form, "")
        return csrf_of(nonce) if nonce else ""


async def session_of(scope: Scope, site: Site) -> Session | None:
    """Return the session of an operator by a request's cookie; None without one that is valid."""
    token, found = await _credential_of(scope, site)
    if found is None or found.principal.kind is not CallerKind.OPERATOR or found.principal.role is None:
        return None
    return Session(token, found.principal.actor_id.removeprefix(actor_of("")), found.principal.role)


async def merchant_session_of(scope: Scope, site: Site) -> MerchantSession | None:
    """Return the session of a merchant by a request's cookie; None without one that is valid."""
    token, found = await _credential_of(scope, site)
    if found is None or found.principal.tenant is None or not token.startswith(MERCHANT_TOKEN):
        return None
    return MerchantSession(token, found.principal.tenant, found.principal.actor_id)


async def _credential_of(scope: Scope, site: Site) -> tuple[str, Credential | None]:
    token = cookies_of(scope).get(site.cookies.session, "")
    if not 0 < len(token) <= _TOKEN_MAX or not token.isascii():
        return "", None
    return token, await site.parts.credential(scope, token_hash(token))


async def _form_of(request: AnyRequest) -> dict[str, str]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise UnreadableFormError("This page takes forms only.")
    content = bytearray()
    try:
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            async for chunk in request.stream():
                content += chunk
                if len(content) > _BODY_MAX:
                    raise UnreadableFormError("The form is too large.")
    except TimeoutError as error:
        raise UnreadableFormError("The form did not arrive in time. Send it again.") from error
    try:
        fields = parse_qsl(content.decode(), keep_blank_values=True, max_num_fields=_FIELDS_MAX)
    except ValueError as error:
        raise UnreadableFormError("The form cannot be read.") from error
    form: dict[str, str] = {}
    for name, value in fields:
        # Boxes that are ticked together have one name.
        form[name] = f"{form[name]},{value}" if name in form else value.replace("\r\n", "\n").strip()
    return form


def _is_equal(given: str, expected: str) -> bool:
    return bool(expected) and hmac.compare_digest(given.encode(), expected.encode())
