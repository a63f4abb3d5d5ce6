"""Renders the OpenAPI document as one HTML page for `/docs`, without scripts and external resources."""

import re
from collections.abc import Iterable, Mapping
from html import escape
from itertools import groupby
from typing import Any

import msgspec

Shape = Mapping[str, Any]

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#1a1a2e}"
    "code,pre{font:14px/1.4 ui-monospace,monospace}pre{background:#f4f4f8;padding:.8rem;overflow:auto}"
    "summary{cursor:pointer;padding:.4rem 0;border-top:1px solid #ddd}b{display:inline-block;width:5rem}"
    "table{border-collapse:collapse;margin:.3rem 0 1rem}td{padding:.15rem 1rem .15rem 0;vertical-align:top}"
    "h3{margin:1.6rem 0 .4rem;text-transform:capitalize}details>div{padding:0 0 .6rem 1.2rem}"
    "i{color:#666;font-style:normal}"
)
_BEGIN = """curl -s $URL/api/v1/payments \\
  -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' \\
  -H 'Idempotency-Key: order-1001' \\
  -d '{"amount": 2500, "currency": "GHS", "payer": {"msisdn": "0241234567"}, "reference": "order-1001"}'"""
_INTRODUCTION = (
    "<p>Every call but <code>/health</code> takes a key: <code>Authorization: Bearer sk_…</code>. Calls "
    "that say Operator and all of resilience take an admin key, all others a merchant's. Each call names the "
    "scope that the key needs; a key without it gets 403 <code>insufficient_scope</code>. Amounts are whole "
    "pesewas, times are UTC. A POST that moves money takes an <code>Idempotency-Key</code> that you choose: "
    "a repeat under the same key gets the same response, and money moves once.</p>"
    f"<p>A first request:</p><pre>{escape(_BEGIN)}</pre>"
    "<p>Then read the payment until its <code>status</code> is <code>succeeded</code>, <code>failed</code> "
    "or <code>canceled</code>, or have events sent to a webhook endpoint. <code>processing</code> never "
    "means failed. Errors are <a href=#problems>problems</a> (RFC 9457): switch on "
    "<code>code</code>.</p>"
    "<p>This page for machines: <a href=/openapi.json>/openapi.json</a>.</p>"
)


_WEBHOOKS = (
    "<p>Each event is a POST to your endpoints, signed by Standard Webhooks. Answer any 2xx at once; "
    "anything else is sent again. Events can come twice and in another order.</p>"
)


def reference_page(document: Shape) -> str:
    """Return the HTML page of an OpenAPI document."""
    calls = [
        (operation["tags"][0], _call(method.upper(), path, operation, document["components"]))
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]
    groups = "".join(
        f"<h3>{escape(tag)}</h3>{''.join(text for _, text in group)}"
        for tag, group in groupby(calls, key=lambda call: call[0])
    )
    events = "".join(_event(name, item["post"]) for name, item in document["webhooks"].items())
    problems = _table(
        (
            f"<code>{escape(name.removeprefix('Problem'))}</code>",
            _prose(response["description"]).replace("\n\n", "<br>"),
        )
        for name, response in document["components"]["responses"].items()
    )
    shapes = "".join(_shape(name, shape) for name, shape in sorted(document["components"]["schemas"].items()))
    title = escape(document["info"]["title"])
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>"
        f"<h1>{title}</h1>{_INTRODUCTION}<h2>Calls</h2>{groups}<h2>Webhooks</h2>{_WEBHOOKS}{events}"
        f"<h2 id=problems>Problems</h2>{problems}<h2>Shapes</h2>{shapes}</html>"
    )


def _call(method: str, path: str, operation: Shape, components: Shape) -> str:
    said = _prose(operation.get("description") or "")
    parts = [_parameters(operation.get("parameters", ()))]
    body, responses = operation.get("requestBody"), operation["responses"]
    if body is not None:
        optional = "" if body.get("required") else " (optional)"
        parts.append(f"<p>Send {_content(body)}{optional}.</p>{_examples(body, components)}")
    shown = {status: response for status, response in responses.items() if "$ref" not in response}
    good = [f"<code>{status}</code> {_content(response)}" for status, response in shown.items()]
    problems = [status for status in responses if status not in shown]
    parts.append(f"<p>Answers: {', '.join(good) or '<code>204</code> nothing'}.")
    parts.append(f" Problems: {', '.join(f'<code>{status}</code>' for status in problems)}.</p>")
    parts.extend(_examples(response, components) for response in [*shown.values()][:1])
    summary = f"<b>{method}</b><code>{escape(path)}</code> {said}"
    return f"<details><summary>{summary}</summary><div>{''.join(parts)}</div></details>"


def _event(name: str, request: Shape) -> str:
    media = request["requestBody"]["content"]["application/json"]
    said = _prose(request["description"])
    holder = media["schema"]["allOf"][1]["properties"]["data"]["properties"]["object"]
    body = f"<p><code>data.object</code> is {_kind(holder)}.</p>{_examples(request['requestBody'], {})}"
    headers = _parameters(request["parameters"])
    summary = f"<code>{escape(name)}</code> {said}"
    return f"<details><summary>{summary}</summary><div>{headers}{body}</div></details>"


def _examples(holder: Shape, components: Shape) -> str:
    """Return the examples of a body or an answer, folded."""
    written: list[str] = []
    for media in holder.get("content", {}).values():
        for example in media.get("examples", {}).values():
            name = example.get("$ref", "").rpartition("/")[2]
            value = (components["examples"][name] if name else example)["value"]
            text = msgspec.json.format(msgspec.json.encode(value)).decode()
            written.append(f"<details><summary>Example</summary><pre>{escape(text)}</pre></details>")
    return "".join(written)


def _parameters(parameters: Iterable[Shape]) -> str:
    return _table(
        (
            f"<code>{escape(one['name'])}</code>",
            f"{one['in']}{', required' if one.get('required') else ''}",
            _kind(one["schema"]),
            _prose(one.get("description") or one["schema"].get("description") or ""),
        )
        for one in parameters
    )


def _shape(name: str, shape: Shape) -> str:
    needed = shape.get("required", ())
    rows = _table(
        (
            f"<code>{escape(member)}</code>",
            "" if member in needed else "optional",
            _kind(inner),
            _prose(inner.get("description") or ""),
        )
        for member, inner in shape.get("properties", {}).items()
    )
    said = _prose(shape.get("description") or "")
    return f"<h3 id={escape(name)} style=text-transform:none><code>{escape(name)}</code></h3>{said}" + (
        rows or f"<p>{_kind(shape)}</p>"
    )


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    written = ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in written)}</table>" if written else ""


def _content(holder: Shape) -> str:
    shapes = [media["schema"] for media in holder.get("content", {}).values()]
    return _kind(shapes[0]) if shapes else "nothing"


def _kind(shape: Shape) -> str:
    """Return the type of a value in a few words."""
    if "$ref" in shape:
        name = escape(shape["$ref"].rpartition("/")[2])
        return f"<a href=#{name}>{name}</a>"
    for several in ("oneOf", "anyOf"):
        if several in shape:
            return " or ".join(_kind(one) for one in shape[several]) + _limits(shape)
    if "const" in shape:
        return f"<code>{escape(str(shape['const']))}</code>"
    if "enum" in shape:
        return " · ".join(f"<code>{escape(str(value))}</code>" for value in shape["enum"])
    if shape.get("type") == "array":
        return f"list of {_kind(shape.get('items', {}))}"
    return escape(str(shape.get("type", "anything"))) + _limits(shape)


def _limits(shape: Shape) -> str:
    said = [f"from {shape['minimum']:.0f}"] if "minimum" in shape else []
    said += [f"to {shape['maximum']:.0f}"] if "maximum" in shape else []
    said += [f"at most {shape['maxLength']} characters"] if "maxLength" in shape else []
    said += [f"default {shape['default']}"] if "default" in shape else []
    return f" <i>{escape(', '.join(said))}</i>" if said else ""


def _prose(text: str) -> str:
    """Return text as HTML, with `code` marked up."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
