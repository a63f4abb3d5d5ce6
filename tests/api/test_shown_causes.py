"""The cause of a rail's failures at each place of the API, with a rail that accepts no connection."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from api.served import Served

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def open_breaker(api: Served):
    """Pay until the rail's breaker is open; return it as the operator sees it."""
    while True:
        await asyncio.gather(*(api.pay() for _ in range(3)))
        answer = await api.send("GET", "/resilience/circuit-breakers/mtn_momo:collect", key=api.admin_key)
        if answer.json()["state"] == "open":
            return answer.json()


async def test_the_timeline_of_an_order_names_the_cause(api: Served):
    made = await asyncio.gather(*(api.pay() for _ in range(3)))
    path = f"/payments/{made[0].json()['id']}/timeline"
    sent = []
    while not sent:
        answer = await api.send("GET", path)
        sent = [one for one in answer.json()["data"] if one["kind"] == "sent"]
        await asyncio.sleep(0.05)
    assert (sent[0]["cause"], sent[0]["message"][:8]) == ("unreachable", "The rail")


async def test_a_breaker_names_the_cause_the_time_and_what_to_do(api: Served):
    breaker = await open_breaker(api)
    failure = breaker["statistics"]["last_failure"]
    assert failure["type"] == "unreachable"
    assert failure["message"].startswith("The rail accepts no connection")
    assert "status page" in failure["action"]
    assert abs(datetime.now(UTC) - datetime.fromisoformat(failure["at"])) < timedelta(minutes=1)
    assert f"last: unreachable: {failure['message']}" in breaker["reason"]


async def test_health_names_the_cause_of_an_open_breaker(api: Served):
    await open_breaker(api)
    health = (await api.send("GET", "/resilience/health", key=api.admin_key)).json()
    found = next(one for one in health["troubles"] if one["what"] == "mtn_momo:collect")
    assert (health["status"], found["state"], found["cause"]) == ("degraded", "open", "unreachable")
    assert found["action"] in found["detail"]
    assert found["since"] is not None
