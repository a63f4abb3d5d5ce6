"""Operators sign in to the console; nothing is shown or done without a session of their own."""

from hashlib import sha256

import pytest

from console.browsing import Browser, browser_of, csrf_in, signed_in
from service.operators import enrolled
from synccash.administration.operators.console_link import make_console_link
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.pool import connect

pytestmark = pytest.mark.asyncio(loop_scope="module")
PAGES = (
    "/console",
    "/console/orders",
    "/console/orders.csv",
    "/console/orders/pay_1",
    "/console/search?q=1",
    "/console/queues",
    "/console/rails",
    "/console/webhooks",
    "/console/merchants",
    "/console/keys",
    "/console/operators",
    "/console/approvals",
    "/console/audit",
    "/console/settings",
    "/console/actions/add-merchant",
    "/console/overview/events",
)


@pytest.mark.parametrize("path", PAGES)
async def test_no_page_is_shown_without_a_sign_in(api, path):
    browser = browser_of(api)
    found = await browser.get(path)
    assert found.status_code in (303, 401), found.text
    if found.status_code == 303:
        assert found.headers["location"].startswith("/console/sign-in")


async def test_each_answer_forbids_other_sources_scripts_in_the_page_and_frames(api, admin):
    for path in ("/console/sign-in", "/console", "/console/nothing", "/console/static/console.js"):
        headers = (await admin.get(path)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"


async def test_pages_have_no_code_or_style_of_their_own(admin):
    for path in PAGES[:-1]:
        page = (await admin.get(path)).text
        assert " style=" not in page
        assert "<style" not in page
        assert " onclick" not in page
        assert "<script>" not in page


async def test_a_sign_in_makes_a_new_session_each_time(api):
    kofi = await enrolled(api.operators, "kofi", "operator")
    browser = browser_of(api)
    browser.client.cookies.set(
        "synccash_console_session", "sk_operator_chosen-by-somebody-else", domain="console.test"
    )
    now = api.operators.clock.now().timestamp()
    assert (await browser.sign_in(kofi, now)).status_code == 303
    token = _session(browser)
    assert token.startswith("sk_operator_")
    assert "chosen" not in token
    assert "kofi" in await browser.page("/console/orders")


async def test_a_wrong_password_is_told_without_saying_what_was_wrong(api):
    browser = browser_of(api)
    refused = await browser.submit(
        "/console/sign-in", name="nobody", password="x" * 12, totp="123456", next=""
    )
    assert refused.status_code == 401
    assert "do not match" in refused.text


async def test_the_target_after_a_sign_in_stays_inside_the_console(api):
    person = await enrolled(api.operators, "esi", "viewer")
    for target, expected in (
        ("https://elsewhere.example/", "/console"),
        ("//elsewhere.example", "/console"),
        ("/console/orders?status=failed", "/console/orders?status=failed"),
    ):
        browser = browser_of(api)
        page = await browser.page("/console/sign-in")
        await api.operators.store.database.repeat("UPDATE operators SET totp_last_step = 0")
        code = person.code(api.operators.clock.now().timestamp())
        answer = await browser.post(
            "/console/sign-in",
            csrf=csrf_in(page),
            name="esi",
            password=person.password,
            totp=code,
            next=target,
        )
        assert answer.headers["location"] == expected


async def test_a_sign_out_revokes_the_token_and_the_cookie(api):
    browser = await signed_in(api, "yaw", "viewer")
    token = _session(browser)
    answer = await browser.submit("/console/sign-out", "/console/orders")
    assert answer.status_code == 303
    assert await api.operators.store.credential(sha256(token.encode()).digest()) is None
    assert (await browser.get("/console/orders")).status_code == 303


async def test_a_form_without_the_sessions_text_is_refused(admin, api):
    page = await admin.page("/console/actions/add-merchant")
    for csrf in ("", "x", csrf_in(page)[:-1] + "x"):
        answer = await admin.post("/console/actions/add-merchant", csrf=csrf, name="Forged")
        assert answer.status_code == 403
    elsewhere = await admin.client.post(
        "/console/actions/add-merchant",
        data={"csrf": csrf_in(page), "name": "Forged"},
        headers={"Origin": "https://elsewhere.example"},
    )
    assert elsewhere.status_code == 403
    assert "Forged" not in await admin.page("/console/merchants")


async def test_another_sessions_text_opens_no_form(api, admin, viewer):
    theirs = csrf_in(await admin.page("/console/orders"))
    answer = await viewer.post("/console/theme", csrf=theirs, theme="dark", back="/console")
    assert answer.status_code == 403


async def test_a_link_signs_in_once(api, database_of_file):
    pool = await connect(database_of_file, min_size=0, max_size=1)
    try:
        link = await make_console_link(Database(pool), "http://console.test")
    finally:
        await pool.close()
    path = link.removeprefix("http://console.test")
    code = path.partition("code=")[2]
    first, second = browser_of(api), browser_of(api)
    assert (await first.submit("/console/welcome", path, code=code)).headers["location"] == "/console"
    assert "local" in await first.page("/console/orders")
    refused = await second.submit("/console/welcome", path, code=code)
    assert refused.status_code == 401
    assert (await second.get("/console")).status_code == 303


async def test_a_refused_link_opens_nothing(api):
    browser = browser_of(api)
    assert (await browser.submit("/console/welcome", "/console/welcome", code="guess")).status_code == 401


async def test_guessed_links_are_stopped_by_address(database_of_file):
    from api.served import served

    async with served(database_of_file, rate_limits="unknown_key=2/3600") as api:
        browser = browser_of(api)
        answers = [
            (await browser.submit("/console/welcome", code=str(number))).status_code for number in range(4)
        ]
    assert answers == [401, 401, 429, 429]


async def test_the_address_without_a_path_leads_to_the_console(api):
    found = await browser_of(api).get("/")
    assert (found.status_code, found.headers["location"]) == (303, "/console")


async def test_a_merchants_key_and_an_admin_key_are_no_sessions(api):
    for key in (api.key, api.admin_key):
        browser = browser_of(api)
        browser.client.cookies.set("synccash_console_session", key)
        assert (await browser.get("/console/orders")).status_code == 303


async def test_an_operator_enrols_in_the_browser(api):
    from synccash.payments.access import OperatorRole

    made = await api.operators.create("akua", OperatorRole("viewer"), by="database:test")
    browser = browser_of(api)
    answer = await browser.submit(
        "/console/enrol", name="akua", code=made.code, password="a long password", again="a long password"
    )
    assert answer.status_code == 200
    assert "otpauth://" in answer.text


async def test_without_the_setting_there_is_no_console(database_of_file):
    from api.served import served

    async with served(database_of_file, console=False) as api:
        assert (await api.client.get("/console")).status_code == 404


def _session(browser: Browser) -> str:
    return browser.client.cookies["synccash_console_session"].strip('"')
