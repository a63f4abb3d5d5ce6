"""Makes the pictures of README and docs: the console while a rail is down. `make screenshots` runs it."""

import asyncio
import os
from pathlib import Path

import pytest

from browser.chromium import opened_tab
from browser.operating import link_of, pay, read

FOLDER = os.environ.get("SYNCCASH_SCREENSHOTS")
pytestmark = pytest.mark.skipif(not FOLDER, reason="`make screenshots` makes pictures")
NUMBERS = ("0241234567", "0201234567", "0271234567")


def outage(service) -> str:
    """Payments go well; then MTN's rail gives no answer, and other rails take over. Returns a payment that
    one rail refused and another took."""
    for n in range(30):
        pay(service, amount=1_500 + 125 * n, payer={"msisdn": NUMBERS[n % 3]}, reference=f"order-{1_000 + n}")
    pay(service, amount=60_000, reference="order-2001")
    for n in range(2):
        service.control("PUT", "mtn_momo/faults", {"other_amount_rate": 1.0})
        wrong = pay(service, amount=3_100 + n, rail="mtn_momo", reference=f"order-{2_002 + n}")
        read(service, wrong["id"], lambda one: one["status_detail"] == "under_review")
    service.control("PUT", "mtn_momo/faults", {"down": True})
    moved = [pay(service, amount=2_500, reference=f"order-{3_000 + n}") for n in range(40)]
    tried_twice = [one for one in moved if len(one["attempts"]) > 1]
    assert tried_twice, "no payment was tried at a rail that is down"
    return read(service, tried_twice[0]["id"], lambda one: one["status"] == "succeeded")


async def test_the_pictures_show_an_outage(service, database_of_file, tmp_path):
    assert FOLDER is not None
    moved = await asyncio.to_thread(outage, service)
    link = await link_of(database_of_file, service.url)
    async with opened_tab(tmp_path / "profile") as tab:
        await tab.hide_scrollbars()
        await tab.open(link)
        await tab.leave(tab.run("document.querySelector('main form').requestSubmit()"))
        # What waits is counted from time to time.
        await tab.until("!/nothing/.test(document.querySelector('.tiles').innerText)", tries=900)
        for name, path, width, height, dark in (
            ("console", "/console", 1280, 720, False),
            ("order", f"/console/orders/{moved}", 1280, 900, False),
            ("queue", "/console/queues?queue=under_review", 1280, 560, False),
            ("phone", "/console", 390, 844, True),
        ):
            await tab.look(width, height, dark=dark)
            await tab.open(service.url + path)
            if path == "/console":
                await tab.until("/open/.test(document.querySelector('.troubles')?.innerText ?? '')")
            if name == "queue":
                await tab.run("document.querySelector('td details').open = true")
            await tab.picture(Path(FOLDER) / f"{name}.png")
