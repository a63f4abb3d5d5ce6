"""HTTP by its specifications: methods, content codings, security headers, trace context, query names."""

import re

import pytest

from api.served import PROBLEM, Served, payment

pytestmark = pytest.mark.asyncio(loop_scope="module")
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def _listed(allow: str) -> set[str]:
    return {word.strip() for word in allow.split(",")}


async def test_options_and_405_list_all_methods_of_a_path(api: Served):
    paths = (await api.client.get("/openapi.json")).json()["paths"]
    assert len(paths) > 20
    key = {"Authorization": f"Bearer {api.key}"}
    for path, item in paths.items():
        methods = {method.upper() for method in item} | {"OPTIONS"}
        methods |= {"HEAD"} if "GET" in methods else set()
        concrete = path.replace("{", "").replace("}", "")
        options = await api.client.options(concrete, headers=key)
        assert (path, options.status_code, _listed(options.headers["allow"])) == (path, 204, methods)
        wrong = await api.client.request("TRACE", concrete, headers=key)
        assert (path, wrong.status_code, _listed(wrong.headers["allow"])) == (path, 405, methods)


async def test_options_need_no_key(api: Served):
    options = await api.client.options("/api/v1/payments")
    assert (options.status_code, _listed(options.headers["allow"])) == (
        204,
        {"GET", "HEAD", "OPTIONS", "POST"},
    )


async def test_options_of_an_unknown_path_is_404(api: Served):
    assert (await api.send("OPTIONS", "/paymets")).status_code == 404


@pytest.mark.parametrize("path", ["/health/live", "/api/v1/payments", "/api/v1/payments/pay_none"])
async def test_head_answers_as_get_does(api: Served, path: str):
    key = {"Authorization": f"Bearer {api.key}"}
    head, whole = await api.client.head(path, headers=key), await api.client.get(path, headers=key)
    assert head.status_code == whole.status_code
    assert head.headers["content-type"] == whole.headers["content-type"]


@pytest.mark.parametrize(
    "path", ["/health/live", "/api/v1/payments", "/nowhere", "/metrics", "/openapi.json"]
)
async def test_no_answer_may_be_cached_sniffed_or_framed(api: Served, path: str):
    answer = await api.client.get(path, headers={"Authorization": f"Bearer {api.key}"})
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


async def test_the_documentation_page_keeps_its_own_policy_and_may_not_be_framed(api: Served):
    policies = (await api.client.get("/docs")).headers.get_list("content-security-policy")
    assert len(policies) == 1
    assert "style-src" in policies[0]
    assert "frame-ancestors 'none'" in policies[0]


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate, gzip", "x-none"])
async def test_an_encoded_body_is_refused(api: Served, coding: str):
    answer = await api.send("POST", "/payments", payment(), Idempotency_Key="coding", Content_Encoding=coding)
    assert (answer.status_code, answer.headers["content-type"]) == (415, PROBLEM)
    assert answer.json()["code"] == "unsupported_content_encoding"
    assert answer.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("sent", "continued"),
    [
        (f"00-{TRACE}-{SPAN}-01", "01"),
        (f"00-{TRACE}-{SPAN}-00", "00"),
        (f"00-{TRACE}-{SPAN}-ff", "01"),
        (f"cc-{TRACE}-{SPAN}-01", "01"),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-says", "01"),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"cc-{TRACE}-{SPAN}-01.more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE}-{SPAN}-1", None),
    ],
)
async def test_a_valid_trace_is_continued_and_any_other_begins_anew(
    api: Served, sent: str, continued: str | None
):
    answered = (await api.client.get("/health/live", headers={"traceparent": sent})).headers["traceparent"]
    found = re.fullmatch(r"00-([0-9a-f]{32})-([0-9a-f]{16})-(0[01])", answered)
    assert found is not None
    assert found[2] != SPAN
    assert (found[1] == TRACE) == (continued is not None)
    assert found[3] == (continued or "00")


@pytest.mark.parametrize(
    ("query", "field", "told"),
    [
        ("statsu=failed", "statsu", "did you mean status?"),
        ("limit=2&limit=3", "limit", "given more than once"),
        ("offer=red", "offer", "this call has after, limit, payer, reference, status"),
        ("color=red", "color", "this call has after, limit, payer, reference, status"),
    ],
)
async def test_an_unknown_or_repeated_query_parameter_is_refused(
    api: Served, query: str, field: str, told: str
):
    answer = await api.send("GET", f"/payments?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    (error,) = answer.json()["errors"]
    assert error["field"] == field
    assert told in error["message"]


async def test_a_request_with_an_unknown_query_parameter_does_not_use_up_its_idempotency_key(api: Served):
    refused = await api.send("POST", "/payments?color=red", payment(), Idempotency_Key="query")
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "color")
    again = await api.send("POST", "/payments?color=red", payment(), Idempotency_Key="query")
    assert (again.status_code, again.json()["code"]) == (422, "invalid_request")
    other = payment()
    answer = await api.send("POST", "/payments", other, Idempotency_Key="query")
    assert (answer.status_code, answer.json()["reference"]) == (202, other["reference"])
    assert "idempotent-replayed" not in answer.headers


async def test_null_is_refused_where_it_would_count_as_an_absent_filter(api: Served):
    for query in ("status=null", "status=NULL"):
        answer = await api.send("GET", f"/payments?{query}")
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "status")
    answer = await api.send("GET", "/payments?reference=null")
    assert (answer.status_code, answer.json()["data"]) == (200, [])


async def test_a_callback_may_have_any_query(api: Served):
    answer = await api.client.post("/api/v1/callbacks/mtn_momo/unknown?anything=1&anything=2")
    assert answer.status_code == 200
