"""Invalid bodies of each POST get a problem and never an internal error."""

import httpx
import pytest

from api.served import NUMBER, PROBLEM, Served, payment

pytestmark = pytest.mark.asyncio(loop_scope="module")
DEEP = b"[" * 20_000
BAD = {
    "an open brace": (b"{", 400),
    "bad UTF-8": (b'{"a":"\xff"}', 400),
    "a byte order mark": (b"\xef\xbb\xbf{}", 400),
    "nothing": (b"", 400),
    "20,000 brackets": (DEEP, 400),
    "20,000 brackets in a field": (b'{"amount":' + DEEP, 400),
    "20,000 closed brackets": (b'{"amount":' + DEEP + b"]" * 20_000 + b"}", 400),
    "NaN": (b'{"amount":NaN}', 400),
    "infinity": (b'{"amount":-Infinity}', 400),
    "a raw control character": (b'{"reference":"a\x01"}', 400),
    "an array": (b"[]", 422),
    "null": (b"null", 422),
    "a string": (b'"x"', 422),
    "1e400": (b'{"amount":1e400}', 422),
    "400 digits": (b'{"amount":' + b"9" * 400 + b"}", 422),
    "60,000 digits": (b'{"amount":' + b"9" * 60_000 + b"}", 422),
    "a float": (b'{"amount":1.5}', 422),
    "text for a number": (b'{"amount":"1"}', 422),
    "an unknown field": (b'{"nonsense":1}', 422),
    "an unknown field deeper": (b'{"payer":{"msisdn":"0241234567","nonsense":1}}', 422),
    "a member twice": (b'{"amount":1,"amount":2}', 422),
    "a lone surrogate": (b'{"reference":"\\ud800","description":"\\ud800","reason":"\\ud800"}', 422),
    "1,001 numbers": (b'{"amount":[' + b",".join([b"1e1"] * 1_001) + b"]}", 400),
    "1,001 objects": (b'{"amount":[' + b",".join([b"{}"] * 1_000) + b"]}", 400),
    "1,000 numbers": (b'{"amount":[' + b",".join([b"1e1"] * 1_000) + b"]}", 422),
    "1,000 members": (b"{" + b",".join(b'"m%d":""' % number for number in range(1_000)) + b"}", 400),
    "999 members": (b"{" + b",".join(b'"m%d":""' % number for number in range(999)) + b"}", 422),
    "too much": (b" " * 65_537, 413),
}
PLACES = {
    "payments": "/payments",
    "refunds": "/payments/pay_x/refunds",
    "approve": "/payments/pay_x/approve",
    "decline": "/payments/pay_x/decline",
    "resolve": "/payments/pay_x/resolve",
    "resolve a refund": "/refunds/re_x/resolve",
    "endpoints": "/webhook-endpoints",
}


def is_problem(answer: httpx.Response, status: int) -> None:
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM), answer.text
    body = answer.json()
    assert body["status"] == status
    assert body["request_id"] == answer.headers["request-id"]


async def test_a_hostile_body_gets_the_status_of_the_contract_everywhere(api: Served):
    wrong: list[tuple[str, str, int, int]] = []
    for place, path in PLACES.items():
        key = api.admin_key if path.endswith(("approve", "decline", "resolve")) else api.key
        for name, (body, status) in BAD.items():
            answer = await api.send("POST", path, body, key=key, Idempotency_Key="k")
            if answer.status_code != status:
                wrong.append((place, name, status, answer.status_code))
            else:
                is_problem(answer, status)
    assert wrong == []


async def test_at_most_100_invalid_fields_are_listed(api: Served):
    body = b"{" + b",".join(b'"m%d":""' % number for number in range(900)) + b"}"
    answer = await api.send("POST", "/payments", body, Idempotency_Key="k")
    is_problem(answer, 422)
    assert len(answer.json()["errors"]) == 100


@pytest.mark.parametrize(
    "media_type",
    [
        None,
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "text/plain",
        "application/json; charset=utf-16",
    ],
)
async def test_only_json_bodies_are_accepted(api: Served, media_type: str | None):
    headers = {"Authorization": f"Bearer {api.key}", "Idempotency-Key": "k"}
    if media_type:
        headers["Content-Type"] = media_type
    for path in PLACES.values():
        key = api.admin_key if path.endswith(("approve", "decline", "resolve")) else api.key
        headers["Authorization"] = f"Bearer {key}"
        answer = await api.client.post("/api/v1" + path, content=b"amount=1", headers=headers)
        is_problem(answer, 415)


async def test_every_invalid_field_is_named_at_once_by_its_dotted_path(api: Served):
    body = {
        "amount": 0,
        "currency": "USD",
        "payer": {"msisdn": "12", "network": "vodafone", "x": 1},
        "metadata": {"a": 1},
        "expires_in": 5,
        "description": "a\nb",
        "y": 1,
    }
    answer = await api.send("POST", "/payments", body, Idempotency_Key="k")
    is_problem(answer, 422)
    assert {error["field"] for error in answer.json()["errors"]} == {
        "amount",
        "currency",
        "payer.msisdn",
        "payer.network",
        "payer.x",
        "metadata",
        "expires_in",
        "description",
        "y",
        "reference",
    }


@pytest.mark.parametrize(
    "change",
    [
        {"amount": 10**12 + 1},
        {"amount": True},
        {"reference": ""},
        {"reference": "a" * 65},
        {"reference": "a\n"},
        {"reference": "a\u202eb"},
        {"reference": "a\x00"},
        {"description": "a\x7f"},
        {"description": "d" * 256},
        {"metadata": {str(n): "x" for n in range(21)}},
        {"metadata": {"": "x"}},
        {"metadata": {"k": "x" * 501}},
        {"metadata": {"k\n": "x"}},
        {"expires_in": 86_401},
        {"expires_in": -1},
        {"rail": "nowhere"},
        {"rail": "mtn_momo\n"},
        {"payer": {"msisdn": "0141234567"}},
        {"payer": {"msisdn": NUMBER + "\n"}},
        {"payer": {"msisdn": "٠٢٤١٢٣٤٥٦٧"}},
        {"payer": None},
    ],
    ids=lambda change: f"{change}"[:40],
)
async def test_a_field_out_of_its_bounds_is_refused_by_name(api: Served, change: dict[str, object]):
    answer = await api.send("POST", "/payments", payment(**change), Idempotency_Key="k")
    is_problem(answer, 422)
    (field,) = change
    assert answer.json()["errors"][0]["field"].startswith(field)


@pytest.mark.parametrize("typed", ["024 123 4567", "+233 24-123-4567", "233241234567", " 0241234567"])
async def test_mobile_numbers_are_accepted_in_every_common_notation(api: Served, typed: str):
    answer = await api.pay(payer={"msisdn": typed})
    assert answer.status_code == 202
    assert answer.json()["payer"]["msisdn"] == "233241234567"


async def test_a_body_without_announced_length_is_refused_when_it_grows_too_large(api: Served):
    async def endless():
        for _ in range(20):
            yield b" " * 8_000

    headers = {"Authorization": f"Bearer {api.key}", "Content-Type": "application/json"}
    answer = await api.client.post("/api/v1/payments", content=endless(), headers=headers)
    is_problem(answer, 413)


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done to a request: its key and its body are parsed once."""
    from synccash.api import body
    from synccash.middleware import request_identity, resilience

    done: list[str] = []
    for module, name in (
        (resilience, "read_json"),
        (body, "read_json"),
        (request_identity, "idempotency_key"),
    ):
        real = getattr(module, name)
        noted = lambda *given, name=name, real=real, **more: done.append(name) or real(*given, **more)  # noqa: E731
        monkeypatch.setattr(module, name, noted)
    return done


async def test_the_body_and_the_key_of_a_request_are_parsed_once(api: Served, done: list[str]):
    assert (await api.pay()).status_code == 202
    assert done == ["read_json", "idempotency_key"]


@pytest.mark.parametrize(
    ("body", "key", "status"),
    [
        (b'{"amount":1,"amount":2}', "k", 422),
        (b"{", "k", 400),
        (b"null", "k", 422),
        (b'{"nonsense":1}', "two words", 422),
    ],
)
async def test_a_refused_body_is_parsed_once(
    api: Served, done: list[str], body: bytes, key: str, status: int
):
    is_problem(await api.send("POST", "/payments", body, Idempotency_Key=key), status)
    assert done.count("read_json") == 1
    assert done.count("idempotency_key") <= 1


async def test_a_failed_resolution_takes_no_received_amount(api: Served):
    body = {"outcome": "failed", "evidence": "line 118", "amount_received": 1000}
    answer = await api.send("POST", "/payments/pay_x/resolve", body, key=api.admin_key)
    is_problem(answer, 422)
    assert [error["field"] for error in answer.json()["errors"]] == ["amount_received"]
    answer = await api.send("POST", "/refunds/re_x/resolve", body, key=api.admin_key)
    assert [error["field"] for error in answer.json()["errors"]] == ["amount_received"]
