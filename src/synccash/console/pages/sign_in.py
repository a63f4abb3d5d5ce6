"""Signing in and out, enrolment, the one-time link of `synccash up`, and the choice of colours."""

import secrets

from litestar import get, post
from litestar.di import NamedDependency as Given

from synccash.console.management_calls import CallRefusedError
from synccash.console.session import csrf_of
from synccash.console.visit import THEMES, Html, Visit
from synccash.payments.operator import IssuedToken, SignInRefusedError, SignInThrottledError

_HOME = "/console"
_YEAR_S = 31_536_000


@get("/sign-in")
async def sign_in_form(visit: Given[Visit]) -> Html:
    """Show the form of a sign-in."""
    target = _inside(visit.query("next"))
    if visit.session is not None:
        return visit.redirect(target)
    return sign_in_form_page(visit, "sign_in.html", next=target)


@post("/sign-in")
async def sign_in(visit: Given[Visit]) -> Html:
    """Sign in with a name, a password and a code of the authenticator app."""
    target = _inside(visit.form.get("next"))
    body = {name: visit.form.get(name, "") for name in ("name", "password", "totp")}
    body["totp"] = body["totp"].replace(" ", "")
    try:
        answer = await visit.site.calls.call(visit.scope, "POST", ("operators", "sign-in"), body=body)
    except CallRefusedError as error:
        problem = _sign_in_problem(error)
        return sign_in_form_page(
            visit, "sign_in.html", error.status, next=target, name=body["name"], problem=problem
        )
    failed = answer.document["failed_before"]
    if failed:
        visit.note(
            f"Since your last sign-in, {failed} failed with your name. If that was not you, tell an admin."
        )
    begin_session(visit, answer.document["token"])
    return visit.redirect(target)


@get("/welcome")
async def link_form(visit: Given[Visit]) -> Html:
    """Ask before a one-time link is used up: programs that preview links open them too."""
    return sign_in_form_page(visit, "welcome.html", code=visit.query("code") or "")


@post("/welcome")
async def use_link(visit: Given[Visit]) -> Html:
    """Sign in with the code of a one-time link."""
    try:
        signed_in = await visit.site.parts.use_link(visit.scope, visit.form.get("code", ""))
    except SignInThrottledError:
        problem = "Too many links were tried from your address. Wait a minute, and open the link again."
        return sign_in_form_page(visit, "welcome.html", 429, code="", problem=problem)
    except SignInRefusedError:
        problem = "This link was used or is too old. `synccash console` prints a new one."
        return sign_in_form_page(visit, "welcome.html", 401, code="", problem=problem)
    token: IssuedToken = signed_in.token
    begin_session(visit, token.secret)
    return visit.redirect(_HOME)


@post("/sign-out")
async def sign_out(visit: Given[Visit]) -> Html:
    """End the session and its open streams."""
    session = visit.signed_in
    visit.site.hub.end(session.token_hash)
    await visit.api("POST", "operators", "sign-out")
    visit.set_cookies.append(visit.site.cookies.expire(visit.site.cookies.session))
    return visit.redirect(f"{_HOME}/sign-in")


@get("/enrol")
async def enrolment_form(visit: Given[Visit]) -> Html:
    """Show the form of an enrolment."""
    return sign_in_form_page(visit, "enrol.html")


@post("/enrol")
async def enrol(visit: Given[Visit]) -> Html:
    """Set the first password with an enrolment code, and show the secret for the authenticator app."""
    body = {name: visit.form.get(name, "") for name in ("name", "code", "password")}
    if body["password"] != visit.form.get("again"):
        return sign_in_form_page(
            visit, "enrol.html", 422, name=body["name"], problem="The two passwords differ."
        )
    try:
        answer = await visit.site.calls.call(visit.scope, "POST", ("operators", "enrol"), body=body)
    except CallRefusedError as error:
        return sign_in_form_page(
            visit, "enrol.html", error.status, name=body["name"], problem=_problem_text(error)
        )
    return visit.page("enrolled.html", name=body["name"], made=answer.document)


@post("/theme")
async def choose_theme(visit: Given[Visit]) -> Html:
    """Remember the colours in a cookie, so that the server renders them and nothing flashes."""
    theme = visit.form.get("theme", "auto")
    cookies = visit.site.cookies
    visit.set_cookies.append(cookies.set(cookies.theme, theme if theme in THEMES else "auto", _YEAR_S))
    return visit.redirect(_inside(visit.form.get("back")))


def begin_session(visit: Visit, token: str) -> None:
    """Put the token of a new session into the cookie, in place of any other."""
    cookies = visit.site.cookies
    visit.set_cookies += [cookies.set(cookies.session, token), cookies.expire(cookies.form)]


def sign_in_form_page(visit: Visit, template: str, status: int = 200, **context: object) -> Html:
    """Show a form that is sent without a session: a new cookie binds it to this browser."""
    nonce = secrets.token_urlsafe(24)
    visit.set_cookies.append(visit.site.cookies.set(visit.site.cookies.form, nonce, 3_600))
    given = {"problem": None, "name": "", "next": _HOME, "form_csrf": csrf_of(nonce), **context}
    session, merchant = visit.session, visit.merchant
    visit.session = visit.merchant = None
    try:
        return visit.page(template, status, **given)
    finally:
        visit.session, visit.merchant = session, merchant


def _sign_in_problem(error: CallRefusedError) -> str:
    if error.retry_after:
        return f"Too many failed sign-ins. Try again in {error.retry_after} seconds."
    if error.status in (401, 422):
        return "Name, password and code do not match. A code works once and for about a minute."
    return str(error)


def _problem_text(error: CallRefusedError) -> str:
    fields = " ".join(f"{one['field']}: {one['message']}." for one in error.errors)
    return f"{error} {fields}".strip()


def _inside(target: str | None) -> str:
    """Return an address of the console; its start page for any other, also one of another site."""
    is_inside = target is not None and (target == _HOME or target.startswith((f"{_HOME}/", f"{_HOME}?")))
    return (
        target if is_inside and target is not None and "\\" not in target and target.isprintable() else _HOME
    )


SIGN_IN_PAGES = (
    sign_in_form,
    sign_in,
    link_form,
    use_link,
    sign_out,
    enrolment_form,
    enrol,
    choose_theme,
)
