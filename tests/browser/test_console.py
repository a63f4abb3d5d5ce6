"""The console in a real browser: every page, light and dark, on a desk and a phone, and the live overview."""

import asyncio
import os
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from browser.chromium import opened_tab
from browser.operating import link_of, operate, pay, read, with_database
from console.webhooks_of_merchant import add_endpoint, add_failed_event
from service.installation import call, wait_until
from synccash.console.pages.queues import QUEUES
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.operations.reconciliations import PostgresReconciliations, ReconciliationResult

LOOKS = ((1280, 900, False), (1280, 900, True), (390, 844, False), (390, 844, True))
RUN = "rec_01ja0d4f6g8h0j2k4m6n8p0q2r"
PICTURES = os.environ.get("SYNCCASH_PICTURES")


def seeded(service):
    """Orders in several states: succeeded, in risk review, under review, paid late, and at a rail that is
    down."""
    paid = [pay(service) for _ in range(3)]
    held = pay(service, amount=60_000)
    service.control("PUT", "mtn_momo/faults", {"other_amount_rate": 1.0})
    wrong, parked = (pay(service, amount=amount, rail="mtn_momo") for amount in (3_100, 3_200))
    for one in (wrong, parked):
        read(service, one["id"], lambda found: found["status_detail"] == "under_review")
    service.control(
        "PUT", "mtn_momo/faults", {"failed_then_success_rate": 1.0, "late_success_after_ms": 3_000}
    )
    late, foreign = (pay(service, rail="mtn_momo")["id"] for _ in range(2))
    for one in (late, foreign):
        read(service, one, lambda found: found["status"] == "failed")
    wait_until("the rail contradicts itself", lambda: contradicts(service, late))
    service.control("PUT", "mtn_momo/faults", {"down": True})
    for _ in range(12):
        pay(service, rail="mtn_momo")
    operate(
        service,
        "POST",
        "/resilience/rate-limits/ip:192.0.2.9/payment_list/block",
        {"duration": 3_600, "reason": "it tries all numbers"},
    )
    return paid[0]["id"], held["id"], wrong["id"], parked["id"], foreign


def contradicts(service, order_id):
    """Have the rail asked about an order; whether its answer contradicts an earlier one."""
    operate(service, "POST", f"/admin/orders/{order_id}/inquire", {"reason": "the payer has paid"})
    headers = {"Authorization": f"Bearer {service.admin_key}"}
    found = call("GET", f"{service.url}/api/v1/admin/contradictions", **headers).body["data"]
    return order_id in [one["id"] for one in found]


async def stored(database: Database, order_id: str, parked: str, foreign: str) -> None:
    """What other credentials and weeks of use leave behind: an order that its rail is not asked about, one
    that this version cannot read, money in another currency, a failed webhook, a statement that differs."""
    await database.repeat("UPDATE attempts SET provider_code = 'other_account' WHERE order_id = $1", parked)
    await database.repeat("INSERT INTO unreadable_orders (order_id, error) VALUES ($1, 'no key 7')", order_id)
    for order, kind in ((order_id, "second_success"), (order_id, "reversed"), (foreign, "late_success")):
        await database.repeat(
            "INSERT INTO contradictions (move_id, order_id, kind, attempts) VALUES ($1, $2, $3, '[]')",
            f"{order}/{kind}",
            order,
            kind,
        )
    await database.repeat(
        "WITH moved AS (UPDATE attempts SET moved_at = now() WHERE order_id = $1 RETURNING id) "
        "INSERT INTO timeline (order_id, at, kind, data) SELECT $1, now(), 'contradiction', "
        "json_build_object('attempt', id, 'currency', 'NGN', 'reported', 2500) FROM moved",
        foreign,
    )
    endpoint = await add_endpoint(database, "mer_one")
    await add_failed_event(database, "mer_one", endpoint, datetime.now(UTC), order_id=order_id)
    finding = {
        "verdict": "amount_differs",
        "line": 7,
        "direction": "in",
        "stated": "7.00",
        "ours": "25.00",
        "reference": "0d9f0b3c-5c1e-4b7a-9a55-0c6b1f5f1f10",
        "provider_id": "4711",
        "order_id": order_id,
        "attempt_id": None,
        "detail": None,
    }
    await PostgresReconciliations(database).add(
        ReconciliationResult(
            id=RUN,
            rail="mtn_momo",
            file="statement-2026-03-01.csv",
            actor="database:synccash",
            is_clean=False,
            counts={"rows": 3, "matched": 2, "amount_differs": 1, "from": "2026-03-01T00:00:00Z", "to": None},
            findings=[finding],
        )
    )


async def test_the_console_in_a_browser(service, database_of_file, tmp_path):
    paid, held, wrong, parked, foreign = await asyncio.to_thread(seeded, service)
    await with_database(database_of_file, lambda database: stored(database, paid, parked, foreign))
    pages = [
        "/console",
        "/console/orders",
        "/console/orders?kind=payouts",
        f"/console/orders/{paid}",
        f"/console/orders/{wrong}",
        "/console/queues",
        *(f"/console/queues?queue={name}" for name in QUEUES),
        "/console/rails",
        "/console/routing",
        "/console/webhooks",
        "/console/limits",
        "/console/reconciliations",
        f"/console/reconciliations/{RUN}",
        "/console/merchants",
        "/console/keys",
        "/console/operators",
        "/console/approvals",
        "/console/audit",
        "/console/settings",
        "/console/search?q=nothing",
        "/console/actions/create-key",
        f"/console/actions/resolve-payment/{wrong}",
        f"/console/actions/close-contradictions/{paid}",
        "/console/actions/unblock-key/ip:192.0.2.9@payment_list",
        "/console/actions/recover-webhooks/mer_one?since=2026-03-02T09:15",
        "/console/nothing",
    ]
    link = await link_of(database_of_file, service.url)
    async with opened_tab(tmp_path / "profile") as tab:
        await tab.open(service.url + "/console/sign-in")
        assert await tab.severe_faults() == []
        await tab.open(link)
        await tab.leave(tab.run("document.querySelector('main form').requestSubmit()"))
        assert urlsplit(await tab.run("location.href")).path == "/console"
        await _every_page(service, tab, pages)
        await _every_queue(service, tab)
        await _live_overview(service, tab)
        await _search_by_key(service, tab, paid)
        await _approve(service, tab, held)
        await _stay_out_of_the_page(service, tab)
        await _try_routing(service, tab)
        await _recover_webhooks(service, tab)
        await _sign_out(service, tab)
        await _merchant(service, tab, paid)


async def _every_page(service, tab, pages):
    faults = []
    for width, height, dark in LOOKS:
        await tab.look(width, height, dark=dark)
        for path in pages:
            await tab.open(service.url + path)
            look = f"{path} {width} {'dark' if dark else 'light'}"
            faults += [f"{look}: {one}" for one in await tab.severe_faults()]
            if await tab.run("document.documentElement.scrollWidth > innerWidth"):
                faults.append(f"{look}: wider than the screen")
            if PICTURES:
                name = look.strip("/").replace("/", "-").replace("?", "-").replace(" ", "-")
                await tab.picture(Path(PICTURES) / f"{name}.png")
    assert faults == []
    # The page that is not there answers 404, which the browser reports.
    assert [one for one in tab.problems if "404" not in one] == []


async def _every_queue(service, tab):
    """No queue is empty, so each kind of row was looked at."""
    for name in QUEUES:
        await tab.open(f"{service.url}/console/queues?queue={name}")
        assert await tab.run("document.querySelectorAll('main tbody tr').length"), name


async def _live_overview(service, tab):
    """The numbers of the page change without a reload, and the breaker's countdown runs."""
    await tab.look(1280, 900, dark=False)
    await tab.open(service.url + "/console")
    await tab.run("window.sameDocument = true")
    await tab.until("/mtn_momo/.test(document.querySelector('.troubles')?.innerText ?? '')")
    await asyncio.to_thread(service.control, "DELETE", "mtn_momo/faults")
    await tab.run("document.querySelector('#live h1').dataset.old = 'yes'")
    await tab.until("!document.querySelector('#live h1[data-old]')")
    assert await tab.run("window.sameDocument")


async def _search_by_key(service, tab, paid):
    """`/` goes to the search, what is pasted is found, and Enter opens it."""
    await tab.open(service.url + "/console/orders")
    await tab.press("/", 191)
    await tab.until("document.activeElement.id === 'find'")
    await tab.call("Input.insertText", text=paid)
    await tab.until(f"document.querySelector('#found a[href$={paid}]')")
    await tab.leave(tab.run("document.querySelector('form.find').requestSubmit()"))
    assert paid in await tab.run("location.pathname")


async def _approve(service, tab, held):
    """An order in risk review is approved with a reason, from the queue."""
    await tab.open(service.url + "/console/queues?queue=risk_review")
    await tab.leave(tab.run(f"document.querySelector('a[href$=\"approve-payment/{held}\"]').click()"))
    await tab.run("document.querySelector('textarea').value = 'the merchant sent the invoice'")
    await tab.leave(tab.run("document.querySelector('main form').requestSubmit()"))
    assert "Approved" in await tab.text()
    assert "the merchant sent the invoice" in await tab.text()


async def _stay_out_of_the_page(service, tab):
    """What a merchant sends is text, and a script that got in would not run."""
    made = await asyncio.to_thread(pay, service, description="<img src=x onerror=window.broken=1>")
    await tab.open(f"{service.url}/console/orders/{made['id']}")
    assert "<img src=x" in await tab.text()
    assert not await tab.run("window.broken")


async def _try_routing(service, tab):
    """Other rules are compared with the orders of the last hour, and shown as settings."""
    await tab.open(service.url + "/console/routing")
    await tab.run("document.querySelector('[name=preferences]').value = '*: paystack > mtn_momo'")
    await tab.leave(tab.run("document.querySelector('main form').requestSubmit()"))
    assert "would have used another rail" in await tab.text()
    assert "SYNCCASH_ROUTING_PREFERENCES" in await tab.text()
    assert await tab.severe_faults() == []


async def _recover_webhooks(service, tab):
    """The field of the time takes what a browser's own picker writes."""
    await tab.open(service.url + "/console/webhooks")
    await tab.leave(tab.run("document.querySelector('a[href*=recover-webhooks]').click()"))
    await tab.run("document.querySelector('[name=since]').value = '2026-01-01T09:15'")
    await tab.run("document.querySelector('textarea').value = 'their server is back'")
    await tab.leave(tab.run("document.querySelector('main form').requestSubmit()"))
    assert "1 delivery is being sent again" in await tab.text()


async def _merchant(service, tab, paid):
    """A merchant signs in with an API key, sees its own pages, and signs out."""
    root = "/console/merchant"
    await tab.open(f"{service.url}{root}/sign-in")
    assert await tab.severe_faults() == []
    await tab.run(f"document.querySelector('[name=key]').value = '{service.key}'")
    await tab.leave(tab.run("document.querySelector('main form').requestSubmit()"))
    assert await tab.run("location.pathname") == root
    pages = [root, f"{root}/orders/{paid}", f"{root}/webhooks", f"{root}/keys", f"{root}/log"]
    await _every_page(service, tab, pages)
    await tab.open(service.url + root)
    await tab.leave(tab.run("document.querySelector('form[action$=sign-out]').requestSubmit()"))
    assert "Sign in as a merchant" in await tab.text()


async def _sign_out(service, tab):
    await tab.open(service.url + "/console")
    await tab.leave(tab.run("document.querySelector('form[action$=sign-out]').requestSubmit()"))
    assert "Sign in" in await tab.text()
    request = urllib.request.Request(service.url + "/console/orders")
    with urllib.request.urlopen(request) as answer:
        assert "/console/sign-in" in answer.url
