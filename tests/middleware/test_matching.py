"""One endpoint, however its path is spelled; anything else is other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synccash.middleware.matching import Endpoint, Matcher, segments

MATCHER = Matcher(
    [
        Endpoint("POST", "/api/v1/payments", name="payment_initiation"),
        Endpoint("GET", "/api/v1/payments/{id}", name="payment_status"),
        Endpoint("POST", "/api/v1/payments/{id}/refunds", name="refund_request"),
        Endpoint("GET", "/", name="root"),
        Endpoint("PUT", "/api/v1/callbacks/{rail}/{token}", name="callback"),
    ]
)


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/payments",
        "/api/v1/payments/",
        "//api//v1///payments//",
        "/API/v1/Payments",
        "/api/v1/%70ayments",
        "/api/./v1/payments",
        "/api%2Fv1/payments",
    ],
)
def test_a_spelling_makes_no_other_endpoint(path):
    found = MATCHER.match("POST", path)
    assert found is not None
    assert found.endpoint.name == "payment_initiation"


@pytest.mark.parametrize(
    "path",
    ["/api/v1/callbacks/rail/token", "/API/v1/callbacks//rail/./token/", "/api/v1/callbacks/rail/%74oken"],
)
def test_two_named_parts_at_the_end_are_found(path):
    found = MATCHER.match("PUT", path)
    assert found is not None
    assert (found.endpoint.name, found.parts) == ("callback", {"rail": "rail", "token": "token"})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/api/v1/callbacks/rail"),
        ("PUT", "/api/v1/callbacks/rail/"),
        ("PUT", "/api/v1/callbacks/./rail"),
        ("PUT", "/api/v1/callbacks/rail/token/x"),
        ("PUT", "/api/v1/payments"),
        ("POST", "/api/v1/payments/x"),
        ("POST", "/api/v1/paymentsx"),
        ("POST", "/v1/payments"),
        ("POST", ""),
        ("GET", "/api/v1/../v1/payments/pay_1/x"),
    ],
)
def test_an_undeclared_path_has_no_endpoint(method, path):
    assert MATCHER.match(method, path) is None


def test_head_has_the_endpoint_of_get_unless_it_has_one_of_its_own():
    """Starlette runs the handler of GET for HEAD, so a limit of GET must not be avoided by HEAD."""
    matcher = Matcher(
        [
            Endpoint("GET", "/things/{id}", name="thing"),
            Endpoint("HEAD", "/things", name="own"),
            Endpoint("GET", "/things", name="things"),
        ]
    )
    found = [matcher.match("HEAD", path) for path in ("/things/x", "/things", "/others")]
    assert [one and one.endpoint.name for one in found] == ["thing", "own", None]
    assert Matcher([Endpoint("POST", "/things", name="creation")]).match("HEAD", "/things") is None


def test_a_line_feed_at_the_end_leads_to_the_endpoint_that_is_declared_first():
    special = Endpoint("GET", "/things/special", name="special")
    matcher = Matcher([special, Endpoint("GET", "/things/{id}", name="thing")])
    found = [matcher.match("GET", path) for path in ("/things/special\n", "/things/x\n", "/things/\n")]
    assert [one and one.endpoint.name for one in found] == ["special", "thing", "thing"]


def test_named_parts_keep_their_case():
    found = MATCHER.match("GET", "/api/v1/payments/pay_AbC/")
    assert found is not None
    assert found.parts == {"id": "pay_AbC"}


@given(st.text(max_size=60))
def test_no_path_raises_and_the_normal_form_is_stable(path):
    once = segments(path)
    assert segments("/" + "/".join(p.replace("%", "%25").replace("/", "%2F") for p in once)) == once
    MATCHER.match("GET", path)
