"""The OpenAPI document describes every property, parameter, problem and event, and its examples are valid."""

import ast
import asyncio
import hashlib
import importlib
import itertools
import json
import re
from collections.abc import Iterator
from html import unescape
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

import synccash
from api.document import FREE_OBJECTS, OPEN_OBJECTS, UNDESCRIBED_ANSWERS, Document
from api.served import Served
from synccash.api.openapi import docs
from synccash.api.openapi.examples import ANSWER_EXAMPLES, REQUEST_EXAMPLES
from synccash.api.openapi.problem_codes import PROBLEM_CODES
from synccash.payments.webhook import ENDPOINT_VERIFICATION, EVENT_TYPES

SOURCE = Path(synccash.__file__).parent
KINDS = {"path": True, "header": True, "query": False}


@pytest.fixture
async def document(api: Served) -> Document:
    return Document((await api.client.get("/openapi.json")).json())


def properties(document: Document) -> Iterator[tuple[str, Any]]:
    """Every property of every schema, by its dotted name."""

    def within(prefix: str, schema: Any) -> Iterator[tuple[str, Any]]:
        for name, inner in schema.get("properties", {}).items():
            yield f"{prefix}.{name}", inner
            yield from within(f"{prefix}.{name}", inner)

    for name, schema in document.raw["components"]["schemas"].items():
        yield from within(name, schema)


async def test_every_property_is_described(document: Document):
    known = dict(properties(document))
    assert len(known) > 250
    assert [name for name, one in known.items() if not document.resolved(one).get("description")] == []


async def test_every_schema_and_every_parameter_is_described(document: Document):
    for name, schema in document.raw["components"]["schemas"].items():
        assert schema.get("description"), name
    for method, path, operation in document.operations():
        assert operation.get("description"), (method, path)
        for one in operation.get("parameters", ()):
            assert one.get("description"), (method, path, one["name"])


async def test_every_number_of_money_says_its_unit(document: Document):
    names = (
        "amount",
        "available",
        "reserved",
        "collected",
        "refunded",
        "paid_out",
        "credit",
        "fees",
        "float",
    )
    found = [
        (name, one["description"])
        for name, one in properties(document)
        if name.rpartition(".")[2].startswith(names) and "integer" in str(one)
    ]
    assert len(found) > 15
    assert [name for name, text in found if "esewas" not in text] == []


async def test_every_time_is_a_date_time_and_every_id_has_its_pattern(document: Document):
    for name, one in properties(document):
        last = name.rpartition(".")[2]
        choices = [one, *one.get("anyOf", ())]
        if last.endswith("_at") or name == "EntryShown.at":
            assert any(choice.get("format") == "date-time" for choice in choices), name
        if (last == "id" and name != "RailShown.id") or last in ("merchant_id", "payment_id", "refund_id"):
            assert any(choice.get("pattern", "").startswith("^") for choice in choices), name


async def test_only_listed_objects_are_free(document: Document):
    schemas = document.raw["components"]["schemas"]
    free = {
        name
        for name, one in properties(document)
        for choice in [one, *one.get("anyOf", ())]
        if choice.get("type") == "object" and choice.get("additionalProperties") is not False
    }
    assert free == FREE_OBJECTS.keys()
    assert OPEN_OBJECTS.keys() <= schemas.keys()
    for name, schema in schemas.items():
        assert "properties" in schema or "enum" in schema, name
    for method, path, operation in document.operations():
        for status in operation["responses"]:
            schema = document.schema_of(operation, int(status))
            if path in UNDESCRIBED_ANSWERS and status < "300":
                continue
            assert schema is None or "$ref" in schema or "allOf" in schema, (method, path, status)


async def test_requests_are_closed_and_are_json(document: Document):
    bodies = [operation for _, _, operation in document.operations() if "requestBody" in operation]
    assert len(bodies) > 15
    for operation in bodies:
        content = operation["requestBody"]["content"]
        assert content.keys() == {"application/json"}
        shape = document.resolved(content["application/json"]["schema"])
        assert shape["additionalProperties"] is False, shape["title"]


async def test_parameters_are_as_strict_as_the_service(document: Document):
    seen: dict[str, int] = dict.fromkeys(KINDS, 0)
    for method, path, operation in document.operations():
        for one in operation.get("parameters", ()):
            seen[one["in"]] += 1
            assert one["required"] is KINDS[one["in"]], (method, path, one["name"])
            schema = document.resolved(one["schema"])
            bounded = {"pattern", "maxLength", "enum", "maximum", "format"} & schema.keys()
            assert bounded, (method, path, one["name"])
    assert all(seen.values())


# -- problems


def codes_in_source() -> Iterator[tuple[str, int | None]]:
    """Each problem code that the source names, with its status where the call has one."""
    for file in sorted(itertools.chain(*(SOURCE.glob(f"{part}/**/*.py") for part in PARTS))):
        module = ".".join(["synccash", *file.relative_to(SOURCE).with_suffix("").parts])
        for call in ast.walk(ast.parse(file.read_text())):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
                continue
            given = {one.arg: one.value for one in call.keywords}
            if call.func.id == "Refusal" and "code" in given:
                status = given["status"]
                assert isinstance(status, ast.Constant), ast.unparse(call)
                yield from ((code, status.value) for code in texts(given["code"], module))
            if call.func.id == "malformed" and len(call.args) > 1:
                yield from ((code, 400) for code in texts(call.args[1], module))


PARTS = ("api", "middleware", "processes")
"""The packages that answer requests."""


def texts(value: ast.expr, module: str) -> list[str]:
    match value:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.IfExp():
            return texts(value.body, module) + texts(value.orelse, module)
        case ast.Name(id="code"):
            return []  # the parameter of `malformed`, whose callers are read
        case ast.Name():
            return [getattr(importlib.import_module(module), value.id)]
        case _:
            raise AssertionError(f"{module}: what is {ast.unparse(value)}?")


TOOLKIT_ONLY = {"idempotency_caller_unknown", "idempotency_outcome_unknown", "rate_limited"}
"""Codes of the middleware in other applications: the service handles its idempotent calls itself, and refuses
what is above a limit with a code of its own."""


def test_every_problem_code_of_the_source_is_in_the_table():
    found = {one for one in codes_in_source() if one[0] not in TOOLKIT_ONLY}
    assert len(found) > 20
    assert {code for code, _ in found} - PROBLEM_CODES.keys() == set()
    assert [(code, status) for code, status in found if status not in PROBLEM_CODES[code].statuses] == []


def test_every_problem_code_of_the_table_is_in_the_source():
    # `malformed` has its code as a default, and internal errors are raised in several ways.
    used = {code for code, _ in codes_in_source()} | {"malformed_request"}
    assert used >= TOOLKIT_ONLY
    assert PROBLEM_CODES.keys() - used == set()


async def test_every_error_status_has_a_closed_list_of_codes(document: Document):
    seen: set[str] = set()
    for method, path, operation in document.operations():
        for status, response in operation["responses"].items():
            schema = document.schema_of(operation, int(status))
            if status < "400" or (path, status) == ("/health/ready", "503"):
                continue
            assert response == {"$ref": f"#/components/responses/Problem{status}"}, (method, path, status)
            assert schema is not None
            codes = schema["allOf"][1]["properties"]["code"]["enum"]
            seen.update(codes)
            assert codes == sorted(c for c, one in PROBLEM_CODES.items() if int(status) in one.statuses)
            assert codes, status
    assert seen == PROBLEM_CODES.keys()


# -- webhooks and examples


async def test_there_is_a_webhook_for_each_event_type(document: Document):
    assert tuple(document.raw["webhooks"]) == (*EVENT_TYPES, ENDPOINT_VERIFICATION)
    for event_type, item in document.raw["webhooks"].items():
        request = item["post"]
        headers = {one["name"] for one in request["parameters"] if one["in"] == "header" and one["required"]}
        assert headers == {"webhook-id", "webhook-timestamp", "webhook-signature"}
        media = request["requestBody"]["content"]["application/json"]
        example = media["examples"]["event"]["value"]
        assert document.errors(example, media["schema"]) == []
        kind = "webhook_endpoint" if event_type == ENDPOINT_VERIFICATION else event_type.partition(".")[0]
        assert (example["type"], example["data"]["object"]["object"]) == (event_type, kind)
        wrong = {**example, "type": "payment.canceled"}
        assert (document.errors(wrong, media["schema"]) == []) is (event_type == "payment.canceled")


async def test_every_body_and_every_answer_has_a_valid_example(document: Document):
    used: set[str] = set()
    for method, path, operation in document.operations():
        answers = [one for status, one in operation["responses"].items() if status < "300"]
        for holder in [operation.get("requestBody", {}), *([] if path in UNDESCRIBED_ANSWERS else answers)]:
            for media in holder.get("content", {}).values():
                (example,) = media["examples"].values()
                used.add(example["$ref"].rpartition("/")[2])
                value = document.resolved(example)["value"]
                assert document.errors(value, media["schema"]) == [], (method, path)
    of_events = {"RailShown", "DisabledEndpointShown", "ChallengedEndpointShown"}
    assert used | of_events == REQUEST_EXAMPLES.keys() | ANSWER_EXAMPLES.keys()


async def test_every_link_leads_to_a_call_that_has_its_parameter(document: Document):
    operations = {one["operationId"]: one for _, _, one in document.operations()}
    links = document.raw["components"]["links"]
    assert len(links) > 20
    for link in links.values():
        names = {one["name"] for one in operations[link["operationId"]]["parameters"] if one["in"] == "path"}
        assert link["parameters"].keys() == names
    opened = document.raw["paths"]["/api/v1/payments"]["post"]["responses"]["201"]
    assert "ApiV1PaymentsPaymentIdGetPayment" in opened["links"]


async def test_the_introduction_tells_the_first_payment_and_every_error(document: Document):
    told = document.raw["info"]["description"]
    assert "Idempotency-Key: order-1001" in told
    assert all(f"| `{code}` |" in told for code in PROBLEM_CODES)


async def test_a_call_is_summed_up_in_words(document: Document):
    assert document.raw["paths"]["/api/v1/payments"]["get"]["summary"] == "List payments"


async def test_the_page_loads_its_script_and_the_document_from_this_service_alone(api: Served):
    page = await api.client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    sources = re.findall(r"""(?:src|href)=["']?([^"'> ]+)""", page.text)
    assert sources == ["/openapi.json", "/docs/scalar.js"]
    (configuration,) = re.findall(r'data-configuration="([^"]+)"', page.text)
    assert json.loads(unescape(configuration))["url"] == "/openapi.json"
    policy = page.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "http" not in policy


async def test_every_problem_code_is_an_anchor_of_the_page_that_its_doc_url_names(api: Served):
    missing = (await api.client.get("/api/v1/payments/pay_missing")).json()
    path, _, anchor = missing["doc_url"].partition("#")
    assert anchor == missing["code"]
    page = await api.client.get(path)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "script" not in page.text
    assert set(re.findall(r'<section id="(\w+)">', page.text)) == PROBLEM_CODES.keys()


async def test_the_vendored_script_is_the_one_that_its_notice_names(api: Served):
    answer = await api.client.get("/docs/scalar.js")
    assert (answer.status_code, answer.headers["content-encoding"]) == (200, "gzip")
    notice = (resources.files("synccash.api.openapi") / "static" / "README.md").read_text()
    assert hashlib.sha256(answer.content).hexdigest() in notice


async def test_the_event_loop_goes_on_while_the_document_is_built(
    api: Served, monkeypatch: pytest.MonkeyPatch
):
    building = asyncio.Event()
    loop, turned = asyncio.get_running_loop(), asyncio.Event()
    build = docs.description

    def watched(app: Any) -> Any:
        loop.call_soon_threadsafe(building.set)
        # Returns only because the loop runs beside this thread.
        asyncio.run_coroutine_threadsafe(turned.wait(), loop).result(30)
        return build(app)

    monkeypatch.setattr(docs, "description", watched)
    monkeypatch.setattr(docs, "_encoded", docs._encoded.__wrapped__)  # pyright: ignore
    asking = asyncio.create_task(api.client.get("/openapi.json"))
    await asyncio.wait_for(building.wait(), 30)
    assert (await api.client.get("/health/live")).status_code == 200
    turned.set()
    assert (await asking).status_code == 200
