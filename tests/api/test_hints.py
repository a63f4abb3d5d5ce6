"""An invalid field or parameter is answered with what it takes, and with what the caller may have meant."""

import uuid
from typing import Any

import msgspec
import pytest

from api.served import NUMBER, Served, payment
from synccash.api.hints import field_paths, network_meant, pesewas_meant, unknown_name
from synccash.api.schemas import requests

asynchronous = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (25.0, "25.00 GHS is 2500"),
        (25.5, "25.50 GHS is 2550"),
        ("25.00", "25.00 GHS is 2500"),
        ("GHS 25.05", "25.05 GHS is 2505"),
        ("25 ghs", "25.00 GHS is 2500"),
        ("2500", "without quotes 2500 is 25.00 GHS"),
        (1e300, None),
        (-25.0, None),
        (25.125, None),
        (True, None),
        (2500, None),
        ("9" * 10_000, None),
        ("²", None),
        ("", None),
        (None, None),
    ],
)
def test_an_amount_in_cedis_is_told_in_pesewas(value: object, told: str | None):
    assert pesewas_meant(value) == told


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("vodafone", "vodafone is telecel here"),
        ("Vodafone Cash", "Vodafone Cash is telecel here"),
        ("AirtelTigo", "AirtelTigo is at here"),
        ("MTN", "MTN is mtn here"),
        ("glo", None),
        (7, None),
    ],
)
def test_a_former_name_of_a_network_is_told_by_its_present_one(value: object, told: str | None):
    assert network_meant(value) == told


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("amout", "did you mean amount?"),
        ("expiresIn", "did you mean expires_in?"),
        ("msisdn", "did you mean payer.msisdn?"),
        ("phone", "did you mean payer.msisdn?"),
        ("externalId", "did you mean reference?"),
        ("colour", "this call has amount, currency, description"),
        ("x" * 100_000, "this call has amount"),
    ],
)
def test_an_unknown_field_is_answered_with_the_nearest_one_or_all(name: str, told: str):
    assert told in unknown_name("field", name, field_paths(requests.PaymentBody))


def test_the_words_of_other_apis_lead_to_fields_that_exist():
    every = {
        path.rpartition(".")[2]
        for kind in vars(requests).values()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
        for path in field_paths(kind)
    }
    from synccash.api.hints import _OTHER_WORDS  # pyright: ignore[reportPrivateUsage]

    assert set(_OTHER_WORDS.values()) <= every
    assert not set(_OTHER_WORDS) & every


async def errors(api: Served, body: dict[str, Any]) -> dict[str, str]:
    answer = await api.send("POST", "/payments", body, Idempotency_Key=uuid.uuid4().hex)
    assert answer.status_code == 422
    return {error["field"]: error["message"] for error in answer.json()["errors"]}


@asynchronous
async def test_a_payment_with_five_mistakes_gets_five_hints(api: Served):
    told = await errors(
        api,
        {
            **payment(amount="25.00", payer={"msisdn": NUMBER, "network": "vodafone", "netwrk": "mtn"}),
            "currency": "USD",
            "expiry": 5,
        },
    )
    assert told == {
        "amount": "expected a whole number of pesewas from 1 to 1000000000000; 25.00 GHS is 2500",
        "currency": "expected GHS",
        "payer.network": "expected one of mtn, telecel, at; vodafone is telecel here",
        "payer.netwrk": "unknown field; did you mean network?",
        "expiry": told["expiry"],
    }
    assert "this call has amount" in told["expiry"]


@asynchronous
@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("limit=0", "expected a whole number from 1 to 100"),
        ("limit=ten", "expected a whole number from 1 to 100"),
        ("status=done", "expected one of created, "),
        (f"reference={'r' * 65}", "expected at most 64 characters"),
    ],
)
async def test_a_query_speaks_as_a_body_does(api: Served, query: str, told: str):
    answer = await api.send("GET", f"/payments?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    (error,) = answer.json()["errors"]
    assert error["field"] == query.partition("=")[0]
    assert error["message"].startswith(told)
    assert told in answer.json()["detail"]


@asynchronous
async def test_a_path_that_does_not_exist_names_the_documentation(api: Served):
    answer = await api.client.get("/api/v1/paymants")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert answer.json()["detail"].endswith("See /docs.")
