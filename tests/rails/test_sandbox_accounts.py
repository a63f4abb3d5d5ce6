"""What `up` offers its children: an account with every rail that the sandbox plays, good at once."""

import asyncio

from rails.rail_contract import Bench
from synccash.engine.system import SystemClock
from synccash.local.preparing import sandbox_rails
from synccash.payments.rail import RailStatus
from synccash.rails.registry import build_rails
from synccash.resilience.evidence import Evidence
from synccash.settings.loader import FIELDS, load_settings


async def offered(world, folder):
    def wait(seconds):
        raise AssertionError("the sandbox runs already")

    path = folder / "credentials.json"
    return await asyncio.to_thread(sandbox_rails, world.url, path, "http://localhost:8000", wait)


async def test_every_rail_of_the_sandbox_is_set_up_and_takes_a_payment(world, transport, tmp_path):
    settings = await offered(world, tmp_path)
    assert set(settings) <= set(FIELDS)
    rails = build_rails(
        load_settings({f"SYNCCASH_{key.upper()}": value for key, value in settings.items()}).settings,
        transport,
        SystemClock(),
    )
    assert list(rails) == list(world.sandbox.rail_urls)
    waits = {able.inquiry_from_s for rail in rails.values() for able in rail.capabilities.operations.values()}
    assert waits == {0.0}, "a playback can be asked at once"
    for rail in rails.values():
        order = Bench(world, rail, transport).order(callback_url="http://localhost:1/callback")
        assert (await rail.send(order, timeout_s=10.0)).evidence is Evidence.ACCEPTED
        asked = await rail.inquire(rail.account, order.operation, order.reference, timeout_s=10.0)
        assert asked.status_at_rail is not RailStatus.FAILED


async def test_the_accounts_of_a_data_folder_stay_the_same(world, tmp_path):
    assert await offered(world, tmp_path) == await offered(world, tmp_path)
