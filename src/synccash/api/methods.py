"""The methods of each path: answers OPTIONS, and fills the `Allow` header of a 405."""

from dataclasses import dataclass
from functools import cache

from litestar import Litestar
from litestar.routes import HTTPRoute

from synccash.middleware.matching import Endpoint, Matcher
from synccash.middleware.refusal import App, Receive, Scope, Send


@dataclass(frozen=True, slots=True)
class AllowedMethods:
    """The methods of all handlers of a path together; the framework knows those of one handler only."""

    by_template: dict[str, str]
    matcher: Matcher

    @staticmethod
    @cache
    def of(routes: Litestar) -> "AllowedMethods":
        """Return the methods of the application's routes. HEAD is allowed wherever GET is."""
        methods: dict[str, set[str]] = {}
        for route in routes.routes:
            if isinstance(route, HTTPRoute):
                template = route.path_format.rstrip("/") or "/"
                methods.setdefault(template, {"OPTIONS"}).update(route.methods)
        for found in methods.values():
            found.update({"HEAD"} if "GET" in found else ())
        header = {template: ", ".join(sorted(found)) for template, found in methods.items()}
        return AllowedMethods(header, Matcher([Endpoint("", template, template) for template in header]))

    def header(self, path: str) -> str:
        """Return the value of `Allow` for a path; empty for a path that does not exist."""
        match = self.matcher.match("", path)
        return "" if match is None else self.by_template[match.endpoint.path]

    def answering_options(self, app: App) -> App:
        """Return an application that answers OPTIONS for every path that exists, and else is `app`."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            if (
                scope["type"] == "http"
                and scope["method"] == "OPTIONS"
                and (allow := self.header(scope["path"]))
            ):
                headers = [(b"allow", allow.encode()), (b"content-length", b"0")]
                await send({"type": "http.response.start", "status": 204, "headers": headers})
                await send({"type": "http.response.body", "body": b""})
                return
            await app(scope, receive, send)

        return answer
