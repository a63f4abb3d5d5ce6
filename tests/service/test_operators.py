"""Operators enrol, sign in with password and TOTP code, and have tokens and roles of their own."""

import asyncio
import contextlib
import inspect
import time
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pyotp
import pytest
import pytest_asyncio
from litestar.routes import HTTPRoute

from api.served import served
from service.operators import PASSWORD, bearer, enrolled, quick_passwords, token_of
from synccash.administration.operators.operators import Operators
from synccash.administration.operators.passwords import PasswordHashes
from synccash.api import app as api_app
from synccash.api.calls import BASE
from synccash.api.roles import ROUTE_ROLES
from synccash.engine.system import SystemIdentities
from synccash.payments.access import OperatorRole
from synccash.payments.errors import StateConflictError
from synccash.payments.operator import SignInRefusedError, SignInThrottledError
from synccash.stores.postgres.audit import PostgresAudit
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.operations.operators import PostgresOperators
from synccash.stores.postgres.pool import connect

HOME, ELSEWHERE = "198.51.100.7", "203.0.113.99"


class SetClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.at = datetime(2026, 11, 27, 6, 0, tzinfo=UTC)

    def now(self):
        return self.at

    def monotonic(self):
        return self.at.timestamp()

    async def sleep(self, seconds):
        self.at += timedelta(seconds=seconds)

    def forward(self, seconds):
        self.at += timedelta(seconds=seconds)


@pytest_asyncio.fixture
async def operators(database_url):
    async with opened_operators(database_url) as found:
        yield found


def hash_of(token):
    return sha256(token.secret.encode()).digest()


def code_now(operators, person, steps=0):
    return person.code(operators.clock.now().timestamp() + 30 * steps)


async def test_an_enrolment_is_no_failed_sign_in(operators):
    await enrolled(operators, "kofi", "operator")
    throttled = await operators.store.database.repeat("SELECT subject FROM operator_sign_in_throttle")
    assert throttled == []
    with pytest.raises(SignInRefusedError):
        await operators.enrol("kofi", "not-a-code", PASSWORD, HOME)
    throttled = await operators.store.database.repeat("SELECT failures FROM operator_sign_in_throttle")
    assert [one["failures"] for one in throttled] == [1]


async def test_an_enrolled_operator_signs_in_and_the_token_names_the_operator(operators):
    kofi = await enrolled(operators, "kofi", "operator")
    found = await operators.sign_in("kofi", PASSWORD, code_now(operators, kofi), HOME)
    assert (found.operator.name, found.operator.role, found.failed_before) == (
        "kofi",
        OperatorRole.OPERATOR,
        0,
    )
    credential = await operators.store.credential(sha256(found.token.secret.encode()).digest())
    assert credential is not None
    principal = credential.principal
    assert (principal.actor_id, principal.tenant, principal.role) == (
        "operator:kofi",
        None,
        OperatorRole.OPERATOR,
    )


async def test_a_wrong_part_is_refused_without_saying_which(operators):
    ama = await enrolled(operators, "ama", "viewer")
    right = code_now(operators, ama)
    wrong = f"{(int(right) + 1) % 1_000_000:06d}"
    for name, password, code in (
        ("ama", "not the password", right),
        ("ama", PASSWORD, wrong),
        ("nobody", PASSWORD, right),
    ):
        with pytest.raises(SignInRefusedError) as refused:
            await operators.sign_in(name, password, code, HOME)
        assert str(refused.value) == ""
    found = await operators.sign_in("ama", PASSWORD, right, HOME)
    assert found.failed_before == 2
    assert operators.sign_ins == {"signed_in": 1, "refused": 3, "throttled": 0}


async def test_a_code_is_used_once_also_when_it_is_sent_many_times_at_once(operators):
    ama = await enrolled(operators, "ama", "viewer")
    code = code_now(operators, ama)
    tries = [operators.sign_in("ama", PASSWORD, code, f"198.51.100.{n}") for n in range(4)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(one, SignInRefusedError) for one in results) == 3
    # An older code is as bad as the same one; a later one is good.
    with pytest.raises(SignInRefusedError):
        await operators.sign_in("ama", PASSWORD, code_now(operators, ama, -1), HOME)
    operators.clock.forward(30)
    await operators.sign_in("ama", PASSWORD, code_now(operators, ama), HOME)


async def test_guesses_from_elsewhere_are_throttled_and_keep_nobody_out_at_home(operators):
    ama = await enrolled(operators, "ama", "viewer")
    await operators.sign_in("ama", PASSWORD, code_now(operators, ama), HOME)
    guesses = [operators.sign_in("ama", "guess", "000000", f"203.0.113.{n}") for n in range(12)]
    results = await asyncio.gather(*guesses, return_exceptions=True)
    throttled = [one for one in results if isinstance(one, SignInThrottledError)]
    refused = [one for one in results if isinstance(one, SignInRefusedError)]
    assert (len(refused), len(throttled)) == (5, 7)
    assert all(0 < one.retry_after_s <= 60 for one in throttled)
    operators.clock.forward(30)
    found = await operators.sign_in("ama", PASSWORD, code_now(operators, ama), HOME)
    assert found.failed_before == 5


async def test_one_address_is_throttled_over_all_names_and_a_refused_try_adds_no_delay(operators):
    for n in range(5):
        with pytest.raises(SignInRefusedError):
            await operators.sign_in(f"name{n}", "guess", "000000", ELSEWHERE)
    waits, tries = [], 0
    while tries < 20:
        tries += 1
        # On a loaded machine the wait of a second may end meanwhile: then one try is judged.
        with pytest.raises((SignInThrottledError, SignInRefusedError)) as refused:
            await operators.sign_in(f"other{tries}", "guess", "000000", ELSEWHERE)
        if isinstance(refused.value, SignInRefusedError):
            break
        waits.append(refused.value.retry_after_s)
    assert len(waits) > 1
    assert max(waits) <= 2.0


async def test_an_unknown_name_costs_the_same_work_as_a_known_one(operators):
    ama = await enrolled(operators, "ama", "viewer")
    code = code_now(operators, ama)
    verified = []

    class Counting(PasswordHashes):
        async def verify(self, stored, password):
            verified.append(stored is not None)
            return await super().verify(stored, password)

    operators = Operators(operators.store, operators.audit, Counting(), operators.clock, operators.identities)
    for name in ("ama", "nobody"):
        with pytest.raises(SignInRefusedError):
            await operators.sign_in(name, "guess", code, HOME)
    assert verified == [True, False]


async def test_sign_ins_wait_for_one_hash_at_a_time_and_a_crowd_is_refused():
    passwords = PasswordHashes()
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.002)

    ticking = asyncio.create_task(tick())
    tries = [passwords.verify(None, "guess") for _ in range(12)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    ticking.cancel()
    passwords.close()
    assert [one for one in results if not isinstance(one, SignInThrottledError)] == [False] * 8
    assert ticks > 8, "the event loop ran while passwords were hashed"


async def test_a_disabled_operator_and_a_reset_one_lose_their_tokens(operators):
    await enrolled(operators, "ama", "admin")
    kofi = await enrolled(operators, "kofi", "operator")
    first = await operators.sign_in("kofi", PASSWORD, code_now(operators, kofi), HOME)
    made = await operators.create_token("kofi", "script", 30, token=hash_of(first.token))
    hashed = hash_of(made)
    operators.clock.forward(30)
    assert await operators.store.credential(hashed) is not None
    await operators.disable("kofi", by="operator:ama", reason="left")
    assert await operators.store.credential(hashed) is None
    with pytest.raises(SignInRefusedError):
        await operators.sign_in("kofi", PASSWORD, code_now(operators, kofi), HOME)
    await operators.enable("kofi", by="operator:ama", reason="back")
    assert await operators.store.credential(hashed) is None
    await operators.sign_in("kofi", PASSWORD, code_now(operators, kofi), HOME)
    enrolment = await operators.reset("kofi", by="operator:ama", reason="lost phone")
    operators.clock.forward(30)
    with pytest.raises(SignInRefusedError):
        await operators.sign_in("kofi", PASSWORD, code_now(operators, kofi), HOME)
    await operators.enrol("kofi", enrolment.code, "another long password", HOME)
    with pytest.raises(SignInRefusedError):
        await operators.enrol("kofi", enrolment.code, "a third long password", HOME)


async def test_a_revoked_token_makes_no_new_one(operators):
    # A process may have the token in its cache for 5 s more.
    kofi = await enrolled(operators, "kofi", "operator")
    stolen = hash_of((await operators.sign_in("kofi", PASSWORD, code_now(operators, kofi), HOME)).token)
    await operators.reset("kofi", by="operator:ama", reason="stolen laptop")
    with pytest.raises(SignInRefusedError):
        await operators.create_token("kofi", "for later", 365, token=stolen)
    assert await operators.tokens("kofi") == []


async def test_an_api_token_makes_none_that_lives_longer(operators):
    kofi = await enrolled(operators, "kofi", "operator")
    session = (await operators.sign_in("kofi", PASSWORD, code_now(operators, kofi), HOME)).token
    month = await operators.create_token("kofi", "report", 30, token=hash_of(session))
    assert month.expires_at > session.expires_at
    year = await operators.create_token("kofi", "for ever", 365, token=hash_of(month))
    assert year.expires_at == month.expires_at
    day = await operators.create_token("kofi", "short", 1, token=hash_of(month))
    assert day.expires_at < month.expires_at


@pytest.mark.parametrize("change", ["reset", "password"])
async def test_a_sign_in_that_is_under_way_does_not_survive_a_reset_or_a_new_password(operators, change):
    kofi = await enrolled(operators, "kofi", "operator")

    class Meanwhile(PasswordHashes):
        async def verify(self, stored, password):
            found = await super().verify(stored, password)
            if change == "reset":
                await operators.reset("kofi", by="operator:ama", reason="stolen laptop")
            else:
                other = await operators.passwords.make("another long password")
                await operators.store.set_password((await operators.store.all())[0].id, other, token=b"")
            return found

    racing = Operators(operators.store, operators.audit, Meanwhile(), operators.clock, operators.identities)
    with pytest.raises(SignInRefusedError):
        await racing.sign_in("kofi", PASSWORD, code_now(operators, kofi), HOME)
    assert await operators.tokens("kofi") == []


@pytest.mark.parametrize("change", ["disable", "role"])
async def test_two_admins_who_end_each_other_at_once_do_not_both_succeed(operators, change):
    for name in ("ama", "esi"):
        await enrolled(operators, name, "admin")
    for _ in range(5):
        if change == "disable":
            both = [operators.disable(name, by="operator:x", reason="x") for name in ("ama", "esi")]
        else:
            both = [
                operators.set_role(name, OperatorRole.VIEWER, by="operator:x", reason="x")
                for name in ("ama", "esi")
            ]
        results = await asyncio.gather(*both, return_exceptions=True)
        assert sum(isinstance(one, StateConflictError) for one in results) == 1, results
        for name in ("ama", "esi"):
            await operators.enable(name, by="operator:x", reason="x")
            await operators.set_role(name, OperatorRole.ADMIN, by="operator:x", reason="x")


async def test_the_last_admin_stays(operators):
    await enrolled(operators, "ama", "admin")
    for attempt in (
        operators.disable("ama", by="operator:ama", reason="x"),
        operators.set_role("ama", OperatorRole.VIEWER, by="operator:ama", reason="x"),
    ):
        with pytest.raises(StateConflictError):
            await attempt
    await enrolled(operators, "esi", "admin")
    await operators.set_role("ama", OperatorRole.VIEWER, by="operator:esi", reason="x")


async def test_an_own_password_is_changed_with_the_present_one(operators):
    ama = await enrolled(operators, "ama", "viewer")
    with pytest.raises(SignInRefusedError):
        await operators.change_password(
            "ama", "guess", code_now(operators, ama), "a new long password", address=HOME, token=b""
        )
    await operators.change_password(
        "ama", PASSWORD, code_now(operators, ama), "a new long password", address=HOME, token=b""
    )
    operators.clock.forward(30)
    with pytest.raises(SignInRefusedError):
        await operators.sign_in("ama", PASSWORD, code_now(operators, ama), HOME)
    await operators.sign_in("ama", "a new long password", code_now(operators, ama), HOME)


async def test_what_is_done_is_in_the_audit_log_and_what_anybody_can_try_is_not(operators):
    ama = await enrolled(operators, "ama", "admin")
    with pytest.raises(SignInRefusedError):
        await operators.sign_in("ama", "guess", "000000", HOME)
    await operators.sign_in("ama", PASSWORD, code_now(operators, ama), HOME)
    entries = await operators.audit.latest(10)
    assert [(one.actor, one.action, one.target) for one in entries] == [
        ("operator:ama", "operator_enrol", "ama"),
        ("database:test", "operator_create", "ama"),
    ]


async def test_over_http_an_operator_enrols_signs_in_and_signs_out(database_url):
    async with served(database_url) as api:
        async with opened_operators(database_url) as store:
            made = await store.create("ama", OperatorRole.ADMIN, by="database:test")
        done = await api.client.post(
            "/api/v1/operators/enrol", json={"name": "ama", "code": made.code, "password": PASSWORD}
        )
        assert done.status_code == 200, done.text
        totp = pyotp.TOTP(done.json()["totp_secret"])
        hidden = {"name": "tokens", "role": "viewer", "reason": "x"}
        short = {"name": "ama", "password": PASSWORD, "totp": "12345"}
        assert (await api.client.post("/api/v1/operators/sign-in", json=short)).status_code == 422
        body = {**short, "totp": totp.at(int(time.time()))}
        signed_in = await api.client.post("/api/v1/operators/sign-in", json=body)
        assert signed_in.status_code == 200, signed_in.text
        again = await api.client.post("/api/v1/operators/sign-in", json=body)
        assert (again.status_code, again.json()["code"]) == (401, "sign_in_refused")
        token = bearer(signed_in.json()["token"])
        refused = await api.client.post("/api/v1/operators", json=hidden, headers=token)
        assert (refused.status_code, "tokens" in refused.text) == (422, True), "no call would reach it"
        listed = await api.client.get("/api/v1/operators", headers=token)
        assert [one["name"] for one in listed.json()["data"]] == ["ama"]
        for secret in (PASSWORD, totp.secret, "argon2"):
            assert secret not in listed.text
        tokens = (await api.client.get("/api/v1/operators/tokens", headers=token)).json()["data"]
        assert [one["kind"] for one in tokens] == ["session"]
        out = await api.client.post("/api/v1/operators/sign-out", headers=token)
        assert out.status_code == 200, out.text
        async with opened_operators(database_url) as store:
            assert await store.tokens("ama") == []


@contextlib.asynccontextmanager
async def opened_operators(database_url):
    """The operators of a database, as a second process has them."""
    pool = await connect(database_url, min_size=0, max_size=4)
    passwords = quick_passwords()
    try:
        database = Database(pool)
        yield Operators(
            PostgresOperators(database), PostgresAudit(database), passwords, SetClock(), SystemIdentities()
        )
    finally:
        passwords.close()
        await pool.close()


async def test_each_role_may_call_what_its_routes_say(database_url):
    async with served(database_url) as api:
        async with opened_operators(database_url) as store:
            tokens = {
                role.value: await token_of(store, role.value + "-one", role.value) for role in OperatorRole
            }
        new = {"name": "new-one", "role": "viewer", "reason": "hired"}
        for method, path, body, allowed in (
            ("GET", "/resilience/circuit-breakers", None, {"viewer", "operator", "admin", "key"}),
            ("GET", "/operators", None, {"viewer", "operator", "admin", "key"}),
            (
                "POST",
                "/resilience/circuit-breakers/mtn_momo:collect/reset",
                {"reason": "x"},
                {"operator", "admin", "key"},
            ),
            ("POST", "/operators", new, {"admin"}),
            ("POST", "/operators/tokens", {"name": "x", "days": 1}, {"viewer", "operator", "admin"}),
        ):
            callers = {**tokens, "key": api.admin_key, "merchant": api.key}
            found = set()
            for caller, secret in callers.items():
                answer = await api.send(method, path, body, key=secret)
                assert answer.status_code in (200, 201, 202, 403), (path, caller, answer.text)
                if answer.status_code != 403:
                    found.add(caller)
            assert found == allowed, path
        entries = [one for one in await audit_of(database_url) if one.action == "breaker_reset"]
        assert {one.actor for one in entries} >= {"operator:operator-one", "operator:admin-one"}


async def audit_of(database_url):
    async with opened_operators(database_url) as store:
        return await store.audit.latest(50)


def test_every_route_of_operators_has_a_role():
    parts = (
        "engine",
        "reading",
        "balances",
        "health",
        "endpoints",
        "endpoint_maker",
        "management",
        "wallet_limits",
    )
    routes = api_app._routes(dict.fromkeys((*parts, "metrics_of")))
    found = {
        f"{method} {route.path_format.removeprefix(BASE)}"
        for route in routes.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        if "operator" in inspect.signature(handler.fn).parameters
        for method in handler.http_methods - {"OPTIONS", "HEAD"}
    }
    assert found == set(ROUTE_ROLES)
