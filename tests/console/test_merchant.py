"""A merchant's people see the orders, webhooks, keys and API log of their merchant, and nothing else."""

import re
import uuid
from hashlib import sha256

import pytest
from litestar import Litestar

from api.served import payment
from console.browsing import browser_of, csrf_in
from console.webhooks_of_merchant import add_endpoint
from synccash.console import app as console_app
from synccash.console.pages.merchant import is_merchant_page
from synccash.payments.request import Role
from synccash.stores.postgres.operations.merchant_sessions import PostgresMerchantSessions

pytestmark = pytest.mark.asyncio(loop_scope="module")
ROOT = "/console/merchant"
SIGN_IN = f"{ROOT}/sign-in"
COOKIE = "synccash_console_session"
PAGES = (ROOT, f"{ROOT}/webhooks", f"{ROOT}/keys", f"{ROOT}/log")


async def merchant_browser(api, key):
    browser = browser_of(api)
    answer = await browser.submit(SIGN_IN, key=key)
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"] == ROOT
    return browser


async def key_of(api, merchant_id, scopes, **columns):
    """A new key of a merchant with these scopes; returns its secret."""
    secret = f"sk_test_{uuid.uuid4().hex}"
    names = ["id", "secret_hash", "role", "merchant_id", "livemode", "scopes", *columns]
    values = [f"key_{uuid.uuid4().hex}", sha256(secret.encode()).digest(), "merchant", merchant_id, False]
    values += [scopes, *columns.values()]
    places = ", ".join(f"${n}" for n in range(1, len(names) + 1))
    await api.operators.store.database.repeat(
        f"INSERT INTO api_keys ({', '.join(names)}) VALUES ({places})", *values
    )
    return secret


async def test_a_merchant_sees_its_orders_webhooks_keys_and_requests(api):
    made = (await api.pay(reference="order-of-ama")).json()
    await add_endpoint(api.operators.store.database, "mer_test")
    browser = await merchant_browser(api, api.key)
    page = await browser.page(ROOT)
    assert made["id"] in page
    assert "order-of-ama" in page
    assert "23324****567" in page
    order = await browser.page(f"{ROOT}/orders/{made['id']}")
    assert "was accepted and stored" in order
    assert "Why?" in order
    assert "233241234567" not in order
    assert "shop.example" in await browser.page(f"{ROOT}/webhooks")
    assert "this session" in await browser.page(f"{ROOT}/keys")
    log = await browser.page(f"{ROOT}/log")
    assert "POST /api/v1/payments" in log
    assert re.search(r"req_\w+", log)
    filtered = await browser.page(f"{ROOT}?reference=nothing-has-this")
    assert made["id"] not in filtered
    await browser.client.aclose()


async def test_a_merchant_sees_nothing_of_another(api):
    canary = f"canary-{uuid.uuid4().hex[:12]}"
    body = payment(reference=canary, description=canary)
    made = await api.send("POST", "/payments", body, key=api.other_key, Idempotency_Key=canary)
    assert made.status_code in (201, 202), made.text
    theirs = made.json()["id"]
    database = api.operators.store.database
    endpoint = await add_endpoint(database, "mer_other")
    key_ids = await database.repeat("SELECT id FROM api_keys WHERE merchant_id = 'mer_other'")
    events = await database.repeat("SELECT id FROM events WHERE merchant_id = 'mer_other'")
    hidden = [canary, theirs, "mer_other", endpoint, *(row["id"] for row in [*key_ids, *events])]
    browser = await merchant_browser(api, api.key)
    for path in (*PAGES, f"{ROOT}?reference={canary}"):
        page = (await browser.page(path)).replace(f'value="{canary}"', "")
        assert [one for one in hidden if one in page] == [], path
    refused = await browser.get(f"{ROOT}/orders/{theirs}")
    assert refused.status_code == 404
    assert canary not in refused.text
    other = await merchant_browser(api, api.other_key)
    assert canary in await other.page(ROOT)


def routes_of_console(api):
    """Each address of the console with its methods, from the application itself."""
    console = console_app.Console(console_app_parts(api))
    found = []

    async def nothing(scope, receive, send):
        raise AssertionError

    pages: Litestar = console._pages(nothing)
    for route in pages.routes:
        path = re.sub(r"\{[^}]+\}", "x", route.path)
        found += [(method, path) for method in sorted(getattr(route, "methods", ()) - {"OPTIONS", "HEAD"})]
    return found


def console_app_parts(api):
    class Parts:
        public_url = "http://console.test"

    return Parts()


async def test_a_merchants_session_gets_404_on_every_other_page_of_the_console(api):
    browser = await merchant_browser(api, api.key)
    csrf = csrf_in(await browser.page(ROOT))
    routes = routes_of_console(api)
    assert len(routes) > 30
    foreign = [(method, path) for method, path in routes if not is_merchant_page(path)]
    assert {path for _, path in routes} - {path for _, path in foreign} > {ROOT, SIGN_IN}
    assert len(foreign) > 25
    for method, path in foreign:
        answer = (
            await browser.get(path) if method == "GET" else await browser.post(path, csrf=csrf, reason="x")
        )
        assert answer.status_code == 404, (method, path, answer.status_code)
        assert "mer_other" not in answer.text


async def test_a_merchants_session_does_nothing_but_read(api):
    made = (await api.pay()).json()
    browser = await merchant_browser(api, api.key)
    token = browser.client.cookies[COOKIE]
    for method, path, body in (
        ("POST", f"/payments/{made['id']}/cancel", None),
        ("POST", "/payments", payment()),
        ("GET", "/webhook-endpoints", None),
        ("GET", "/admin/merchants", None),
        ("GET", "/operators", None),
    ):
        refused = await api.send(method, path, body, key=token, Idempotency_Key=uuid.uuid4().hex)
        assert refused.status_code == 403, (path, refused.text)
    assert (await api.send("GET", f"/payments/{made['id']}", key=token)).status_code == 200


async def test_each_sign_in_makes_a_new_session_and_the_key_is_in_no_cookie(api):
    tokens = set()
    for _ in range(2):
        browser = browser_of(api)
        browser.client.cookies.set(COOKIE, "sk_session_chosen-by-somebody-else", domain="console.test")
        page = await browser.page(SIGN_IN)
        answer = await browser.post(SIGN_IN, csrf=csrf_in(page), key=api.key)
        assert answer.status_code == 303, answer.text
        assert api.key not in str(answer.headers)
        tokens.add(browser.client.cookies[COOKIE])
    assert len(tokens) == 2
    assert all(re.fullmatch(r"sk_session_[0-9a-f]{48}", token) for token in tokens)


async def test_a_key_in_the_cookie_and_a_session_in_the_form_sign_nobody_in(api):
    browser = browser_of(api)
    browser.client.cookies.set(COOKIE, api.key, domain="console.test")
    for path in PAGES:
        found = await browser.get(path)
        assert (found.status_code, found.headers.get("location")) == (303, SIGN_IN)
    signed_in = await merchant_browser(api, api.key)
    again = await browser_of(api).submit(SIGN_IN, key=signed_in.client.cookies[COOKIE])
    assert again.status_code == 401


@pytest.mark.parametrize("wrong", ["", "nothing", "sk_test_nothing", "é" * 20])
async def test_a_wrong_key_is_refused(api, wrong):
    refused = await browser_of(api).submit(SIGN_IN, key=wrong)
    assert refused.status_code == 401
    assert "no API key of a merchant" in refused.text


async def test_admin_keys_and_keys_that_may_not_read_sign_nobody_in(api):
    writes_only = await key_of(api, "mer_test", ["payments:write"])
    elsewhere = await key_of(api, "mer_test", ["payments:read"], allowed_ips=["192.0.2.0/24"])
    for key in (api.admin_key, writes_only, elsewhere):
        assert (await browser_of(api).submit(SIGN_IN, key=key)).status_code == 401


async def test_a_session_ends_with_its_key_and_at_sign_out(api):
    secret = await key_of(api, "mer_test", ["payments:read"])
    browser = await merchant_browser(api, secret)
    hashed = sha256(browser.client.cookies[COOKIE].encode()).digest()
    sessions = api.operators.store.database
    store = PostgresMerchantSessions(sessions)
    assert await store.credential(hashed) is not None
    await sessions.repeat(
        "UPDATE api_keys SET revoked_at = now() WHERE secret_hash = $1", sha256(secret.encode()).digest()
    )
    assert await store.credential(hashed) is None
    other = await merchant_browser(api, api.key)
    hashed = sha256(other.client.cookies[COOKIE].encode()).digest()
    out = await other.submit(f"{ROOT}/sign-out", ROOT)
    assert out.headers["location"] == SIGN_IN
    assert await store.credential(hashed) is None
    assert (await other.get(ROOT)).status_code == 303


async def test_a_key_has_at_most_twenty_sessions(api):
    secret = await key_of(api, "mer_test", ["payments:read"])
    first = await merchant_browser(api, secret)
    others = [await merchant_browser(api, secret) for _ in range(20)]
    store = PostgresMerchantSessions(api.operators.store.database)
    valid = [
        await store.credential(sha256(one.client.cookies[COOKIE].encode()).digest()) is not None
        for one in (first, *others)
    ]
    assert valid == [False, *[True] * 20]


async def test_forms_of_a_merchants_session_carry_its_text(api):
    browser = await merchant_browser(api, api.key)
    for csrf in ("", "x"):
        assert (await browser.post(f"{ROOT}/sign-out", csrf=csrf)).status_code == 403
    done = await browser.submit("/console/theme", ROOT, theme="dark", back=ROOT)
    assert done.headers["location"] == ROOT


async def test_the_sign_in_is_in_the_audit_log(api, admin):
    await merchant_browser(api, api.key)
    audit = await admin.page("/console/audit?action=merchant_sign_in&target=mer_test")
    assert re.search(r"key_\w+", audit)


async def test_a_session_has_the_mode_of_its_key(api):
    await api.pay(reference="in-test-mode")
    secret = f"sk_live_{uuid.uuid4().hex}"
    await api.operators.store.database.repeat(
        "INSERT INTO api_keys (id, secret_hash, role, merchant_id, livemode, scopes) "
        "VALUES ($1, $2, $3, 'mer_test', true, $4)",
        f"key_{uuid.uuid4().hex}",
        sha256(secret.encode()).digest(),
        Role.MERCHANT.value,
        ["payments:read"],
    )
    browser = await merchant_browser(api, secret)
    for path in PAGES:
        assert "in-test-mode" not in await browser.page(path)
