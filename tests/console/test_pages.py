"""Every page shows what is stored, escaped and masked, and lets nobody do more than the role allows."""

import re
from hashlib import sha256

import pytest

from api.served import NUMBER

pytestmark = pytest.mark.asyncio(loop_scope="module")
HOSTILE = '<script>alert("x")</script>&\'"'


@pytest.mark.parametrize(
    "path",
    [
        "/console",
        "/console/orders",
        "/console/orders?kind=payouts",
        "/console/queues",
        "/console/queues?queue=surplus",
        "/console/queues?queue=contradictions",
        "/console/routing",
        "/console/limits",
        "/console/reconciliations",
        "/console/rails",
        "/console/webhooks",
        "/console/merchants",
        "/console/keys",
        "/console/operators",
        "/console/approvals",
        "/console/audit",
        "/console/settings",
        "/console/settings?only=changed",
        "/console/search",
        "/console/search?q=nothing-has-this",
        "/console/search?q=0241234567",
    ],
)
async def test_every_page_is_there(admin, path):
    page = await admin.page(path)
    assert "<h1>" in page
    assert NUMBER[3:] not in page.replace(f'value="{NUMBER}"', "") or "search" in path


async def test_an_order_is_listed_found_and_explained(api, admin):
    made = (await api.pay(reference="order-17")).json()
    listed = await admin.page("/console/orders?reference=order-17")
    assert made["id"] in listed
    assert "GHS 1.00" in listed
    shown = await admin.page(f"/console/orders/{made['id']}")
    assert "Why?" in shown
    assert "was accepted and stored" in shown
    assert "23324****567" in shown
    assert "233241234567" not in shown
    for text in (made["id"], "order-17", made["attempts"][0]["reference"]):
        found = await admin.get(f"/console/search?q={text}")
        assert found.status_code == 303, text
        assert found.headers["location"] == f"/console/orders/{made['id']}"


async def test_what_merchants_send_is_escaped(api, admin):
    reference = f"{HOSTILE}{'r' * 5}"
    made = await api.pay(reference=reference, description=HOSTILE, metadata={"note": HOSTILE})
    assert made.status_code in (201, 202), made.text
    for path in ("/console/orders", f"/console/orders/{made.json()['id']}"):
        page = await admin.page(path)
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert" in page


async def test_a_search_is_escaped(admin):
    found = await admin.client.get("/console/search", params={"q": HOSTILE})
    assert "<script>alert" not in found.text


async def test_the_csv_has_masked_numbers_and_no_formulas(api, admin):
    await api.pay(reference="=1+1")
    found = await admin.get("/console/orders.csv")
    assert found.headers["content-type"].startswith("text/csv")
    lines = found.text.splitlines()
    assert lines[0].startswith("id,created_at")
    assert any(",'=1+1," in line for line in lines)
    assert "233241234567" not in found.text


async def test_pages_follow_a_cursor_and_keep_the_filters(api, admin):
    for _ in range(51):
        await api.pay()
    first = await admin.page("/console/orders?kind=payments&merchant=mer_test")
    older = re.search(r'href="([^"]+)" rel="next"', first)
    assert older
    second = await admin.page(older[1].replace("&amp;", "&"))
    assert "merchant=mer_test" in older[1]
    ids = [set(re.findall(r"pay_\w+", page)) for page in (first, second)]
    assert ids[1]
    assert not ids[0] & ids[1]


async def test_an_unknown_order_and_an_unknown_page_are_pages_too(admin):
    for path in ("/console/orders/pay_nothing", "/console/nothing", "/console/actions/nothing"):
        found = await admin.get(path)
        assert found.status_code == 404
        assert found.headers["content-type"].startswith("text/html")
    fragment = await admin.get("/console/orders/pay_nothing", **{"HX-Request": "true"})
    assert "<html" not in fragment.text
    assert 'class="problem"' in fragment.text


async def test_a_viewer_reads_and_does_nothing(api, viewer):
    page = await viewer.page("/console/merchants")
    assert "/console/actions/" not in page
    assert "/console/audit" not in page
    assert "/console/settings" not in page
    for path in ("/console/audit", "/console/settings"):
        assert (await viewer.get(path)).status_code == 403
    for path, fields in (
        ("/console/actions/add-merchant", {"name": "No"}),
        ("/console/actions/suspend-merchant/mer_test", {"reason": "no"}),
        ("/console/actions/force-open-breaker/mtn_momo:collect", {"reason": "no"}),
    ):
        refused = await viewer.submit(path, **fields)
        assert refused.status_code == 403, refused.text
    assert "needs the" in refused.text


async def test_the_theme_is_rendered_by_the_server(admin):
    answer = await admin.submit("/console/theme", "/console/orders", theme="dark", back="/console/orders")
    assert answer.headers["location"] == "/console/orders"
    assert 'data-theme="dark"' in await admin.page("/console/orders")


async def test_static_files_are_kept_and_nothing_else_is_served(admin):
    page = await admin.page("/console/orders")
    for path in re.findall(r'(?:href|src)="(/console/static/[^"]+)"', page):
        found = await admin.get(path)
        assert found.status_code == 200
        assert "immutable" in found.headers["cache-control"]
    for path in ("/console/static/../app.py", "/console/static/%2e%2e/app.py", "/console/static/"):
        assert (await admin.get(path)).status_code == 404


async def test_settings_show_no_secret(api, admin):
    page = await admin.page("/console/settings")
    assert "canary" not in page
    assert "e1e1" not in page


async def test_the_token_is_not_in_any_page(admin):
    token = admin.client.cookies["synccash_console_session"]
    for path in ("/console", "/console/operators", "/console/settings"):
        page = await admin.page(path)
        assert token not in page
        assert sha256(token.encode()).hexdigest() not in page
