"""The page of an action: says what it does and asks for a reason, and executes it when it is confirmed."""

from secrets import token_urlsafe
from typing import Any, cast

from litestar import get, post
from litestar.di import NamedDependency as Given
from litestar.exceptions import NotFoundException

from synccash.console.actions import ACTIONS, ActionSpec, InvalidFieldError, done_text, secrets_in
from synccash.console.management_calls import CallRefusedError
from synccash.console.visit import Html, PathText, Visit


@get("/actions/{name:str}")
async def ask_new(visit: Given[Visit], name: PathText) -> Html:
    """Show an action that makes something new, with its form."""
    return _ask(visit, name, "")


@get("/actions/{name:str}/{target:str}")
async def ask(visit: Given[Visit], name: PathText, target: PathText) -> Html:
    """Show what an action does with its target, with its form."""
    return _ask(visit, name, target)


@post("/actions/{name:str}")
async def execute_new(visit: Given[Visit], name: PathText) -> Html:
    """Execute an action that makes something new."""
    return await _execute(visit, name, "")


@post("/actions/{name:str}/{target:str}")
async def execute(visit: Given[Visit], name: PathText, target: PathText) -> Html:
    """Execute an action with its target."""
    return await _execute(visit, name, target)


def _ask(visit: Visit, name: str, target: str) -> Html:
    session = visit.signed_in
    del session
    action = _action(name, target)
    return _form(visit, action, target, _prefilled(visit, action))


async def _execute(visit: Visit, name: str, target: str) -> Html:
    """Execute an action, and return to the page it was started from."""
    session = visit.signed_in
    del session
    action = _action(name, target)
    try:
        body = action.body(visit.form)
        answer = await visit.call(action.method, *action.path(target), body=body)
    except InvalidFieldError as error:
        return _form(visit, action, target, visit.form, 422, problem=str(error))
    except CallRefusedError as error:
        if error.status == 401:
            raise
        fields = [f"{one['field']}: {one['message']}" for one in error.errors]
        return _form(visit, action, target, visit.form, error.status, problem=str(error), errors=fields)
    document: dict[str, Any] = (
        cast("dict[str, Any]", answer.document) if isinstance(answer.document, dict) else {}
    )
    waits = answer.status == 202 and document.get("object") == "approval"
    shown_once = secrets_in(document)
    if shown_once:
        return visit.page(
            "shown_once.html", action=action, back=_back(action, target), secrets=shown_once, waits=waits
        )
    visit.note(f"Waits for a second operator as {document['id']}." if waits else done_text(action, document))
    return visit.redirect("/console/approvals" if waits else _back(action, target))


def _action(name: str, target: str) -> ActionSpec:
    action = ACTIONS.get(name)
    if action is None or action.has_target != bool(target):
        raise NotFoundException
    return action


def _prefilled(visit: Visit, action: ActionSpec) -> dict[str, str]:
    """Return the values of the fields, from the address where it has them."""
    return {
        field.name: token_urlsafe(16) if field.kind == "nonce" else visit.query(field.name) or field.value
        for field in action.fields
    }


def _form(
    visit: Visit,
    action: ActionSpec,
    target: str,
    values: dict[str, str],
    status: int = 200,
    *,
    problem: str | None = None,
    errors: list[str] | None = None,
) -> Html:
    return visit.page(
        "action.html",
        status,
        action=action,
        target=target,
        values=values,
        back=_back(action, target),
        problem=problem,
        errors=errors or [],
        is_allowed=visit.may(action.route),
    )


def _back(action: ActionSpec, target: str) -> str:
    return action.back.replace("{target}", target)


ACTION_PAGES = (ask_new, ask, execute_new, execute)
