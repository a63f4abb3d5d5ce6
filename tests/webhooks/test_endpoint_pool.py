"""The share of senders an endpoint may use, and when deliveries to it are paused."""

from dataclasses import replace
from datetime import timedelta

import pytest

from synccash.payments.webhook import DeliveryResult
from synccash.resilience.breaker_settings import BreakerSettings
from synccash.resilience.errors import CircuitOpenError
from synccash.resilience.testing import FakeClock
from synccash.webhooks.endpoint_pool import EndpointPool
from webhooks.test_delivery import endpoint

ENDPOINT = endpoint("https://example.com/hook")
DOWN, UP = DeliveryResult(status=503, error="HTTP 503"), DeliveryResult(status=204)


class Merchant:
    """Gives scripted answers, and records until when the caller waited."""

    def __init__(self):
        self.answer = UP
        self.waited_s = []

    async def post(self, url, *, headers, body, timeout_s):
        self.waited_s.append(timeout_s)
        return self.answer


@pytest.fixture
def merchant():
    return Merchant()


@pytest.fixture
def clock():
    return FakeClock(100.0)


@pytest.fixture
def endpoints(merchant, clock):
    rules = BreakerSettings(failures=2, open_s=30.0)
    return EndpointPool(merchant.post, rules, 4, 10.0, clock, lambda: 0.0)


async def post(endpoints, merchant, answer, to=ENDPOINT):
    merchant.answer = answer
    state = endpoints.acquire(to)
    try:
        return await endpoints.post(state, to.url, {}, b"")
    finally:
        endpoints.release(state)


def test_posts_in_progress_count_against_the_share_until_they_end(endpoints):
    states = [endpoints.acquire(ENDPOINT) for _ in range(3)]
    assert endpoints.room() == {"we_1": 1}
    for state in states:
        endpoints.release(state)
    assert endpoints.room() == {}


async def test_after_failures_an_endpoint_gets_no_post_then_one_probe_then_all(endpoints, merchant, clock):
    for _ in range(2):
        await post(endpoints, merchant, DOWN)
    assert (endpoints.room(), endpoints.shut) == ({"we_1": 0}, 1)
    with pytest.raises(CircuitOpenError):
        await post(endpoints, merchant, UP)
    clock.move(30.0)
    assert endpoints.room() == {"we_1": 1}
    await post(endpoints, merchant, UP)
    assert (endpoints.room(), endpoints.shut) == ({}, 0)
    assert merchant.waited_s == [10.0] * 3


async def test_a_changed_endpoint_is_no_longer_paused(endpoints, merchant):
    for _ in range(2):
        await post(endpoints, merchant, DOWN)
    mended = replace(ENDPOINT, updated_at=ENDPOINT.updated_at + timedelta(seconds=1))
    assert await post(endpoints, merchant, UP, to=mended) is UP


@pytest.mark.parametrize(("wish_s", "alone_s"), [(None, 30.0), (120.0, 120.0), (86_400.0, 300.0)])
async def test_an_endpoints_retry_after_is_honoured_for_minutes_not_for_a_day(
    endpoints, merchant, clock, wish_s, alone_s
):
    for _ in range(2):
        await post(endpoints, merchant, DeliveryResult(status=429, error="HTTP 429", retry_after_s=wish_s))
    clock.move(alone_s - 1)
    assert endpoints.room() == {"we_1": 0}
    clock.move(1)
    assert endpoints.room() == {"we_1": 1}
