"""Routing rules are tried on the last hour's orders before they are saved by setting."""

import json

import pytest

from api.served import served
from console.browsing import signed_in

pytestmark = pytest.mark.asyncio(loop_scope="module")
PAGE = "/console/routing"
PAYSTACK = {
    "paystack_secret_key": "sk_test_canary",
    "paystack_email": "payments@shop.example",
    "paystack_environment": "test",
    "paystack_base_url": "http://127.0.0.1:9",
}


async def test_without_orders_nothing_is_compared(admin):
    done = await admin.submit(PAGE, preferences="*: mtn_momo")
    assert done.status_code == 200
    assert "No order was routed in the last hour" in done.text


async def route_all(api, chosen):
    """Store this decision with all payments: no rail answers here, so they end up at any."""
    considered = [{"rail": "mtn_momo", "score": 1.0}, {"rail": "paystack", "score": 0.9}]
    await api.operators.store.database.repeat(
        "UPDATE payments SET version = version + 1, routing = $1::json",
        json.dumps({"chosen": chosen, "considered": considered, "reason": "best_score"}).encode(),
    )


async def test_the_effect_of_other_rules_is_shown_with_the_settings_that_save_them(database_url):
    async with served(database_url, four_eyes="off", routing_costs="paystack: 2%", **PAYSTACK) as api:
        viewer = await signed_in(api, "vida", "viewer")
        for _ in range(3):
            await api.pay()
        await api.pay(rail="mtn_momo")
        await route_all(api, "mtn_momo")
        page = await viewer.page(PAGE)
        assert "paystack: 2%" in page
        done = await viewer.submit(
            PAGE,
            preferences="*: paystack > mtn_momo",
            costs="paystack: 2%; mtn_momo: 1%",
            preference_step="0.5",
        )
        assert done.status_code == 200, done.text
        assert "3 of 4 orders" in done.text
        assert "GHS 0.03 more" in done.text
        assert "SYNCCASH_ROUTING_PREFERENCES=&#34;*: paystack &gt; mtn_momo&#34;" in done.text
        assert "SYNCCASH_ROUTING_COST_WEIGHT" not in done.text
        assert "paystack: 2%; mtn_momo" not in await viewer.page(PAGE), "nothing was saved"
        await viewer.client.aclose()


async def test_a_mistake_is_named_and_what_was_typed_is_kept(admin):
    for fields, told in (
        ({"preferences": "*: mtn_mom"}, "did you mean mtn_momo?"),
        ({"costs": "mtn_momo"}, "expected `SELECTOR: VALUE`"),
        ({"cost_weight": "much"}, "numbers from 0 to 1"),
        ({"cost_weight": "7"}, "cost_weight"),
    ):
        refused = await admin.submit(PAGE, **fields)
        assert refused.status_code == 422
        assert told in refused.text
        assert next(iter(fields.values())) in refused.text
