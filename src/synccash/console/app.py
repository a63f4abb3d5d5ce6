"""Builds the console and puts it in front of the API, which it calls."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from jinja2 import Environment
from litestar import Litestar, Request, Response, get
from litestar.di import NamedDependency as Given
from litestar.di import Provide
from litestar.exceptions import HTTPException, NotFoundException

from synccash.console.management_calls import CallRefusedError, ManagementCalls
from synccash.console.pages.actions import ACTION_PAGES
from synccash.console.pages.lists import LIST_PAGES
from synccash.console.pages.merchant import MERCHANT_PAGES, MERCHANT_ROOT, is_merchant_page
from synccash.console.pages.orders import ORDER_PAGES
from synccash.console.pages.overview import OVERVIEW_PAGES, snapshot_loader
from synccash.console.pages.queues import QUEUE_PAGES
from synccash.console.pages.routing import ROUTING_PAGES
from synccash.console.pages.sign_in import SIGN_IN_PAGES
from synccash.console.ports import ConsoleParts
from synccash.console.rendering import StaticFile, build_environment, link, load_static_files
from synccash.console.session import Cookies
from synccash.console.snapshots import SnapshotHub
from synccash.console.visit import (
    AnyRequest,
    ForgedRequestError,
    Html,
    PathText,
    SignInNeededError,
    Site,
    UnreadableFormError,
    Visit,
    merchant_session_of,
    session_of,
)
from synccash.middleware.refusal import App, Message, Receive, Scope, Send
from synccash.payments.errors import StoreUnavailableError

log = structlog.get_logger("synccash.console")
ROOT = "/console"
_VISIT = "synccash.console.visit"
_HEADERS = {
    b"content-security-policy": (
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    b"referrer-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(), microphone=(), geolocation=(), payment=()",
}
"""What each answer of the console has beside the headers of all answers."""


@dataclass(frozen=True, slots=True)
class Console:
    """The console of one process. `hub` streams the overview; close it before the server stops."""

    parts: ConsoleParts
    hub: SnapshotHub = field(default_factory=SnapshotHub)
    static_files: Mapping[str, StaticFile] = field(default_factory=load_static_files)
    environment: Environment = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "environment", build_environment(self.static_files))

    def prepare(self) -> None:
        """Compile all templates, which takes some hundred milliseconds. A page that is asked for meanwhile is
        compiled at once. May run in a thread of its own."""
        for name in self.environment.list_templates():
            self.environment.get_template(name)

    def layer(self, api: App) -> App:
        """Return an application that serves the console, and everything else by `api`."""
        pages = self._pages(api)

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and scope["path"] == "/" and scope["method"] == "GET":
                await _to_console(send)
                return
            if scope["type"] != "http" or not _is_console(scope["path"]):
                await api(scope, receive, send)
                return
            await pages(scope, receive, _with_headers(scope, send))

        return serve

    def close(self) -> None:
        """End the open streams."""
        self.hub.close()

    def _pages(self, api: App) -> App:
        site = Site(
            parts=self.parts,
            calls=ManagementCalls(api),
            environment=self.environment,
            static_files=self.static_files,
            cookies=Cookies(is_https=self.parts.public_url.startswith("https://")),
            hub=self.hub,
        )
        self.hub.use(snapshot_loader(site))

        async def visit_of(request: AnyRequest) -> Visit:
            return await _visit(request, site)

        return Litestar(  # pyright: ignore[reportReturnType]
            [
                *SIGN_IN_PAGES,
                *OVERVIEW_PAGES,
                *ORDER_PAGES,
                *QUEUE_PAGES,
                *LIST_PAGES,
                *ROUTING_PAGES,
                *MERCHANT_PAGES,
                *ACTION_PAGES,
                static_file,
            ],
            path=ROOT,
            dependencies={"visit": Provide(visit_of), "site": Provide(lambda: site, sync_to_thread=False)},
            exception_handlers=_error_pages(site),
            openapi_config=None,
            logging_config=None,
            signature_types=[Visit, Site],
        )


@get("/static/{name:path}")
async def static_file(request: AnyRequest, name: PathText, site: Given[Site]) -> Response[bytes]:
    """Return a static file. Its address has a version, so browsers may keep it."""
    found = site.static_files.get(name.lstrip("/"))
    if found is None:
        raise NotFoundException
    is_current = request.query_params.get("v") == found.version
    kept = "public, max-age=31536000, immutable" if is_current else "no-cache"
    media_type = f"{found.media_type}; charset=utf-8"
    return Response(found.content, media_type=media_type, headers={"Cache-Control": kept})


async def _to_console(send: Send) -> None:
    """Answer the address without a path, which people type."""
    headers = [(b"location", ROOT.encode()), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 303, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _is_console(path: str) -> bool:
    return path == ROOT or path.startswith(f"{ROOT}/")


def _with_headers(scope: Scope, send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            visit = scope.get("state", {}).get(_VISIT)
            cookies = visit.set_cookies if isinstance(visit, Visit) else ()
            set_cookies = [(b"set-cookie", cookie.encode()) for cookie in cookies]
            message = {**message, "headers": [*message["headers"], *_HEADERS.items(), *set_cookies]}
        await send(message)

    return send_with_headers


async def _visit(request: AnyRequest, site: Site) -> Visit:
    """Return the visit of a request; with its form, if it has one.

    Raises NotFoundException for a merchant's session on any page that is not a merchant's.
    """
    scope: Scope = request.scope  # pyright: ignore[reportAssignmentType]
    visit = Visit(request, site, merchant=await merchant_session_of(scope, site))
    request.scope["state"][_VISIT] = visit
    if visit.merchant is None:
        visit.session = await session_of(scope, site)
    elif not is_merchant_page(request.url.path):
        raise NotFoundException
    if request.method == "POST":
        await visit.read_form()
    return visit


Handler = Callable[[Request[Any, Any, Any], Any], Response[bytes]]


def _error_pages(site: Site) -> dict[Any, Handler]:
    """Return the handlers of errors. Each answers HTML: htmx puts what it gets into the page."""

    def show(request: AnyRequest, status: int, title: str, detail: str, **more: Any) -> Html:
        visit = _visit_so_far(request, site)
        template = "problem_fragment.html" if visit.is_fragment else "problem.html"
        return visit.page(template, status, title=title, detail=detail, **{"errors": [], **more})

    def refused(request: AnyRequest, error: CallRefusedError) -> Html:
        if error.status == 401:
            return sign_in(request, SignInNeededError())
        title = _TITLES.get(error.status, "That did not work")
        return show(request, error.status, title, str(error), errors=error.errors)

    def sign_in(request: AnyRequest, _error: SignInNeededError) -> Html:
        visit = _visit_so_far(request, site)
        if visit.is_fragment or request.method != "GET":
            return show(request, 401, "You are signed out", "Sign in again; nothing was done.")
        if is_merchant_page(request.url.path):
            return visit.redirect(f"{MERCHANT_ROOT}/sign-in")
        query = request.url.query
        target = request.url.path + (f"?{query}" if query else "")
        return visit.redirect(link(f"{ROOT}/sign-in", next=None if target == ROOT else target))

    def forged(request: AnyRequest, _error: ForgedRequestError) -> Html:
        detail = (
            "The form does not belong to this session, or cookies are blocked. Nothing was done. Open the "
            "page again and repeat it."
        )
        return show(request, 403, "Refused", detail)

    def unreadable(request: AnyRequest, error: UnreadableFormError) -> Html:
        return show(request, 400, "The form was not read", str(error))

    def unavailable(request: AnyRequest, _error: StoreUnavailableError) -> Html:
        detail = "PostgreSQL is unreachable or read-only, so nothing can be shown or done. Try again soon."
        return show(request, 503, "The database is unreachable", detail)

    def http(request: AnyRequest, error: HTTPException) -> Html:
        if error.status_code in (404, 405):
            detail = f"There is no page at {request.url.path}."
            return show(request, error.status_code, "No such page", detail)
        return show(request, error.status_code, "That did not work", "The request cannot be read.")

    def failed(request: AnyRequest, error: Exception) -> Html:
        log.error("console_page_failed", error=type(error).__name__, exc_info=error)
        detail = "The console failed. The service's log has the reason under this request's id."
        return show(request, 500, "The console failed", detail)

    return {
        CallRefusedError: refused,
        SignInNeededError: sign_in,
        ForgedRequestError: forged,
        UnreadableFormError: unreadable,
        StoreUnavailableError: unavailable,
        HTTPException: http,
        Exception: failed,
    }


_TITLES = {
    403: "Not allowed",
    404: "Not found",
    409: "Not possible in the present state",
    422: "Check what you entered",
    429: "Too many requests",
    503: "The database is unreachable",
}


def _visit_so_far(request: AnyRequest, site: Site) -> Visit:
    found = request.scope["state"].get(_VISIT)
    visit = found if isinstance(found, Visit) else Visit(request, site)
    request.scope["state"][_VISIT] = visit
    return visit
