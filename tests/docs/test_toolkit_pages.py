"""The tables of docs/toolkit/ have the options, defaults, events and exceptions that the code has."""

import ast
import inspect
import pkgutil
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import pytest

import synccash.middleware
import synccash.resilience
from synccash.middleware import Endpoint, MemoryClaims, ResilienceMiddleware
from synccash.resilience import BreakerSettings, Budget, Bulkhead, Policy, Retry, events
from synccash.resilience.breaker_statistics import Statistics
from synccash.resilience.budget import RetryStatistics
from synccash.resilience.http import HttpClassifier
from synccash.resilience.limits import Limit
from synccash.resilience.rate import Rate

PAGES = Path(__file__).parents[2] / "docs" / "toolkit"
OPTIONS = {
    ("retry.md", "Retry"): Retry,
    ("circuit-breaker.md", "BreakerSettings"): BreakerSettings,
    ("bulkhead.md", "Bulkhead"): Bulkhead,
    ("rate.md", "Rate"): Rate,
    ("retry-budget.md", "Budget"): Budget,
    ("rate-limits.md", "Limit"): Limit,
    ("idempotency.md", "MemoryClaims"): MemoryClaims,
    ("asgi-middleware.md", "ResilienceMiddleware"): ResilienceMiddleware,
    ("asgi-middleware.md", "Endpoint"): Endpoint,
    ("http.md", "HttpClassifier"): HttpClassifier,
}
"""The tables that have all options of a class. A table follows the text "Of `Class`"."""
OF_OTHER_MIDDLEWARE = frozenset(
    {"address_not_allowed", "api_key_missing", "api_key_unknown", "body_too_slow", "insufficient_scope"}
)
"""The codes of the service's authentication and of its reading of whole bodies."""
OF_POLICY = ("deadlines-and-timeouts.md", "testing.md")
"""The pages with some options of a policy."""
Row = list[str]


def text_of(page: str) -> str:
    return (PAGES / page).read_text(encoding="utf-8")


def rows_after(page: str, start: str) -> list[Row]:
    """Return the rows of the first table after a text, without its head."""
    lines = text_of(page).split(start, 1)[1].splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("|"))
    return [cells(line) for line in lines[first + 2 : end_of_table(lines, first)]]


def end_of_table(lines: list[str], first: int) -> int:
    return next((n for n, line in enumerate(lines) if n > first and not line.startswith("|")), len(lines))


def cells(line: str) -> Row:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def plain(cell: str) -> str:
    return cell.strip("`")


def defaults(kind: type[Any]) -> Mapping[str, Any]:
    parameters = inspect.signature(kind).parameters.values()
    return {one.name: one.default for one in parameters if one.name not in ("app", "self")}


def shown(cell: str) -> Any:
    """Return the default that a cell shows; `...` for one that is described."""
    if cell == "required":
        return inspect.Parameter.empty
    try:
        return ast.literal_eval(plain(cell))
    except (SyntaxError, ValueError):
        return ...


def comparable(default: Any) -> Any:
    return tuple(sorted(cast("frozenset[int]", default))) if isinstance(default, frozenset) else default


def differences(rows: list[Row], real: Mapping[str, Any]) -> Iterator[str]:
    for name, default, _ in rows:
        value, expected = shown(default), comparable(real[plain(name)])
        if value is not ... and value != expected:
            yield f"{name}: {default}, but it is {expected!r}"
        if value is ... and (expected is None or isinstance(expected, str | int | float)):
            yield f"{name}: {default} describes {expected!r}"


@pytest.mark.parametrize(("page", "name"), list(OPTIONS))
def test_a_table_has_every_option_with_its_default(page: str, name: str):
    rows, real = rows_after(page, f"Of `{name}`"), defaults(OPTIONS[page, name])
    assert sorted(plain(row[0]) for row in rows) == sorted(real)
    assert list(differences(rows, real)) == []


@pytest.mark.parametrize("page", OF_POLICY)
def test_the_options_of_a_policy_have_their_defaults(page: str):
    assert list(differences(rows_after(page, "Of `Policy`"), defaults(Policy))) == []


def test_each_page_begins_with_an_example_and_ends_with_pitfalls():
    wrong = [
        page.name
        for page in PAGES.glob("*.md")
        if "```python" not in page.read_text().split("\n## ")[0]
        or (page.name not in ("index.md", "cost-and-limits.md") and "\n## Pitfalls\n" not in page.read_text())
    ]
    assert wrong == []


def test_the_index_lists_every_page():
    listed = {row[1].split("](")[1].rstrip(")") for row in rows_after("index.md", "## Pages")}
    assert listed | {"index.md"} == {page.name for page in PAGES.glob("*.md")}


def public_exceptions() -> set[type[Exception]]:
    """Return the exceptions that the public modules of the toolkit and of the middleware define."""
    found = set[type[Exception]]()
    for package in (synccash.resilience, synccash.middleware):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            if module.name.rpartition(".")[2].startswith("_") or module.name.endswith(".pytest_plugin"):
                continue
            for value in vars(import_module(module.name)).values():
                if isinstance(value, type) and issubclass(value, Exception):
                    found.add(value)
    return {one for one in found if one.__module__.startswith("synccash.")}


def test_the_page_of_errors_has_every_exception_with_its_bases_and_fields():
    rows = [
        *rows_after("errors.md", "## Exceptions of calls"),
        *rows_after("errors.md", "## Exceptions of t"),
    ]
    listed = {plain(row[0]): (set(re.findall(r"\w+", row[1])), re.findall(r"\w+", row[3])) for row in rows}
    real = {
        one.__name__: ({base.__name__ for base in one.__bases__}, fields_of(one))
        for one in public_exceptions()
    }
    assert listed == real
    assert all(row[4] for row in rows)


def fields_of(error: type[Exception]) -> list[str]:
    """Return the fields of an exception: the parameters that it is made of."""
    if error.__init__ is Exception.__init__ or error.__init__ is ValueError.__init__:
        return ["name"] if error.__name__ == "ResilienceError" else []
    return [name for name in inspect.signature(error.__init__).parameters if name != "self"]


def test_the_page_of_errors_has_every_refusal_of_the_middleware():
    listed = {(row[0], plain(row[1])) for row in rows_after("errors.md", "## Responses of the middleware")}
    sources = "\n".join(file.read_text() for file in Path(synccash.middleware.__path__[0]).glob("*.py"))
    codes = set(re.findall(r'code="(\w+)"', sources)) | {
        "idempotency_key_in_progress",
        "idempotency_outcome_unknown",
    }
    assert codes - {code for _, code in listed} <= OF_OTHER_MIDDLEWARE
    for status, code in listed:
        assert re.search(rf'status={status},\s*code="{code}"|_CODE = "{code}"', sources), code


def test_the_page_of_events_has_every_event_and_kind():
    listed = {
        plain(row[0]): plain(row[2].split(" and ")[0]) for row in rows_after("observability.md", "## Events")
    }
    kinds = {name for name in events.__all__ if isinstance(getattr(events, name), type)} - {"EventHook"}
    assert set(listed) == kinds
    source = inspect.getsource(events)
    assert listed.pop("Transition") == "breaker_open"
    assert [name for name, kind in listed.items() if f'{name}: "{kind}",' not in source] == []


@pytest.mark.parametrize(("call", "kind"), [("budget", RetryStatistics), ("breaker", Statistics)])
def test_the_page_of_counts_has_every_field(call: str, kind: type[Any]):
    rows = {plain(row[0]): row[1] for row in rows_after("observability.md", "## Counts")}
    names = re.findall(r"`(\w+)`", rows[f"policy.{call}.statistics()"])
    assert names == [name for name in kind.__dataclass_fields__ if name != "name"]
