"""What a key may do, from where and until when: scopes, addresses, expiry, rotation and last use."""

import contextlib
import uuid
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import httpx
import pytest

from api.served import NUMBER, payment, settings
from synccash.api.roles import OPERATORS_ONLY
from synccash.api.route_scopes import ROUTE_SCOPES, check_routes
from synccash.payments.access import ADMIN_SCOPES, MERCHANT_SCOPES, AccessScope
from synccash.payments.api_key import NewApiKey, new_secret, read_networks, read_scopes
from synccash.payments.request import Role
from synccash.processes.api import application
from synccash.processes.assembly.service import Service, assembled

MERCHANT = "mer_scopes"
PROXY = "127.0.0.1"


@dataclass(slots=True)
class Keyed:
    """A running service that makes keys."""

    service: Service
    client: httpx.AsyncClient

    async def key(self, *scopes: AccessScope, **more: Any) -> NewApiKey:
        role = Role.ADMIN if ADMIN_SCOPES & set(scopes) else Role.MERCHANT
        made = NewApiKey(
            secret=new_secret(role, livemode=False),
            role=role,
            merchant_id=None if role is Role.ADMIN else MERCHANT,
            livemode=False,
            scopes=frozenset(scopes),
            **more,
        )
        await self.service.keys.create_key(made)
        return made

    async def send(
        self, secret: str, method: str, path: str, body: Any = None, **headers: str
    ) -> httpx.Response:
        given = {"Authorization": f"Bearer {secret}", **{k.replace("_", "-"): v for k, v in headers.items()}}
        return await self.client.request(method, path, json=body, headers=given)

    async def row(self, key: NewApiKey) -> dict[str, Any]:
        return next(one for one in await self.service.keys.keys() if one["id"] == key.id)

    async def sql(self, statement: str, *arguments: Any) -> list[Any]:
        return await self.service.keys.database.once(statement, *arguments)


@pytest.fixture
async def keyed(database_of_file: str) -> AsyncGenerator[Keyed]:
    async with keyed_service(database_of_file) as found:
        yield found


@contextlib.asynccontextmanager
async def keyed_service(url: str) -> AsyncGenerator[Keyed]:
    chosen = settings(url, trusted_proxies=PROXY)
    async with assembled(chosen, url) as service:
        await service.keys.ensure_merchant(MERCHANT, "Scopes")
        transport = httpx.ASGITransport(app=application(service, chosen))  # pyright: ignore
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            yield Keyed(service, client)


SIGN_IN = ("/api/v1/operators/sign-in", "/api/v1/operators/enrol")


async def operations(keyed: Keyed) -> list[tuple[str, str, Any]]:
    """Every operation of the OpenAPI document: method, path template, description."""
    paths = (await keyed.client.get("/openapi.json")).json()["paths"]
    return [(method.upper(), path, raw) for path, item in paths.items() for method, raw in item.items()]


def at(path: str) -> str:
    return path.replace("{", "").replace("}", "")


async def test_every_described_operation_shows_the_scope_that_it_needs(keyed):
    described = await operations(keyed)
    assert len(described) > 30
    for method, path, raw in described:
        scope = ROUTE_SCOPES[method, path]
        assert raw["security"] == ([] if scope is None else [{"key": [scope]}]), (method, path)
        is_open = not path.startswith("/api/") or path in SIGN_IN
        assert (scope is None) == is_open, (method, path)
        assert scope is None or f"Needs the scope `{scope}`" in raw["description"]


async def test_only_a_key_with_the_scope_reaches_an_operation(keyed):
    every = {scope: await keyed.key(scope) for scope in AccessScope}
    most = {
        scope: await keyed.key(*(whole - {scope}))
        for whole in (MERCHANT_SCOPES, ADMIN_SCOPES)
        for scope in whole
    }
    wrong: list[Any] = []
    for method, path, _ in await operations(keyed):
        needed = ROUTE_SCOPES[method, path]
        if needed is None:
            continue
        for key in (most[needed], *(key for scope, key in every.items() if scope is not needed)):
            answer = await keyed.send(key.secret, method, at(path))
            told = (answer.status_code, answer.json()["code"], answer.json().get("required_scope"))
            if told != (403, "insufficient_scope", needed) or needed not in answer.json()["detail"]:
                wrong.append((method, path, sorted(key.scopes), told))
        allowed = await keyed.send(every[needed].secret, method, at(path))
        # A person has to answer for these: the scope of an admin key is not enough.
        is_refused = allowed.status_code == 403 and allowed.json()["code"] == "forbidden"
        if f"{method} {path.removeprefix('/api/v1')}" in OPERATORS_ONLY:
            is_right = is_refused
        else:
            is_right = allowed.status_code not in (401, 403)
        if not is_right:
            wrong.append((method, path, needed, allowed.status_code))
    assert wrong == []


async def test_an_object_of_another_merchant_is_not_found_with_any_scope(keyed):
    mine = await keyed.key(*MERCHANT_SCOPES)
    made = await keyed.send(
        mine.secret, "POST", "/api/v1/payments", payment(), Idempotency_Key=uuid.uuid4().hex
    )
    assert made.status_code in (201, 202), made.text
    await keyed.service.keys.ensure_merchant("mer_stranger", "Stranger")
    theirs = NewApiKey(
        secret=new_secret(Role.MERCHANT, livemode=False),
        role=Role.MERCHANT,
        merchant_id="mer_stranger",
        livemode=False,
        scopes=MERCHANT_SCOPES,
    )
    await keyed.service.keys.create_key(theirs)
    url = f"/api/v1/payments/{made.json()['id']}"
    for method, path, body in (
        ("GET", "", None),
        ("GET", "/timeline", None),
        ("POST", "/cancel", None),
        ("POST", "/otp", {"otp": "123456"}),
        ("POST", "/refunds", {"amount": 1}),
    ):
        answer = await keyed.send(theirs.secret, method, url + path, body, Idempotency_Key=uuid.uuid4().hex)
        assert answer.status_code == 404, (method, path)


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/payments/./refunds",
        "/api/v1/payments/./cancel",
        "/api/v1/payments/%2e/cancel",
        "/api/v1/payments/%2e/refunds",
        "/api/v1//payments/pay_x/refunds",
        "/api/v1/payments/pay_x/refunds/",
        "/api/v1/payments/pay_x/%72efunds",
        "/api/v1/payments/pay_x%2Frefunds",
        "/api/v1/payments/pay%252Fx/refunds",
        "/api/v1/PAYMENTS/pay_x/refunds",
    ],
)
async def test_no_spelling_of_a_path_escapes_its_scope(keyed, path):
    key = await keyed.key(AccessScope.PAYMENTS_READ)
    raw = await keyed.client.send(
        httpx.Request(
            "POST",
            httpx.URL("http://api").copy_with(raw_path=path.encode()),
            headers={"Authorization": f"Bearer {key.secret}", "Idempotency-Key": uuid.uuid4().hex},
            json={"amount": 1},
        )
    )
    # 404 or 405 of the router, or a refusal; never the "no such payment" of the handler.
    assert raw.status_code in (401, 403, 404, 405), raw.text
    assert "No payment" not in raw.json()["detail"]


async def test_a_route_without_a_scope_does_not_start():
    with pytest.raises(ValueError, match="/api/v1/new"):
        check_routes([*ROUTE_SCOPES, ("GET", "/api/v1/new")])
    with pytest.raises(ValueError, match="do not exist"):
        check_routes(list(ROUTE_SCOPES)[1:])


async def test_a_missing_scope_is_told_before_the_body_is_read(keyed):
    key = await keyed.key(AccessScope.PAYMENTS_READ)

    async def endless():
        yield b"{"
        raise AssertionError("the body was read")

    answer = await keyed.client.post(
        "/api/v1/payments", content=endless(), headers={"Authorization": f"Bearer {key.secret}"}
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
    assert "ratelimit" not in answer.headers, "the scope is checked before the limits"


async def test_new_keys_send_no_money_out_unless_it_is_asked_for(keyed):
    assert read_scopes(None, Role.MERCHANT) == MERCHANT_SCOPES - {AccessScope.PAYOUTS_WRITE}
    assert AccessScope.PAYOUTS_WRITE in read_scopes(["payouts:write"], Role.MERCHANT)
    assert read_scopes(None, Role.ADMIN) == ADMIN_SCOPES
    for names, role in ((["admin:read"], Role.MERCHANT), (["payments:read"], Role.ADMIN), ([], Role.ADMIN)):
        with pytest.raises(ValueError, match="expected one or more of"):
            read_scopes(names, role)


async def test_keys_of_the_former_version_keep_all_that_they_could_do(keyed):
    secret = new_secret(Role.MERCHANT, livemode=False)
    key = NewApiKey(
        secret=secret, role=Role.MERCHANT, merchant_id=MERCHANT, livemode=False, scopes=frozenset()
    )
    await keyed.sql(
        "INSERT INTO api_keys (id, secret_hash, role, merchant_id, livemode) "
        "VALUES ($1, $2, 'merchant', $3, false)",
        key.id,
        key.secret_hash,
        MERCHANT,
    )
    assert set((await keyed.row(key))["scopes"]) == MERCHANT_SCOPES
    payout = {"amount": 100, "currency": "GHS", "payee": {"msisdn": NUMBER}, "reference": uuid.uuid4().hex}
    answer = await keyed.send(secret, "POST", "/api/v1/payouts", payout, Idempotency_Key=uuid.uuid4().hex)
    assert answer.json().get("code") != "insufficient_scope"


async def test_postgresql_refuses_scopes_of_another_role(keyed):
    key = await keyed.key(AccessScope.PAYMENTS_READ)
    with pytest.raises(Exception, match="scopes_fit_the_role"):
        await keyed.sql("UPDATE api_keys SET scopes = '{admin:write}' WHERE id = $1", key.id)


async def test_an_expired_key_is_refused(keyed):
    key = await keyed.key(AccessScope.PAYMENTS_READ, expires_in=timedelta(hours=1))
    assert (await keyed.send(key.secret, "GET", "/api/v1/payments")).status_code == 200
    other = await keyed.key(AccessScope.PAYMENTS_READ, expires_in=timedelta(hours=1))
    await keyed.sql("UPDATE api_keys SET expires_at = now() WHERE id = $1", other.id)
    answer = await keyed.send(other.secret, "GET", "/api/v1/payments")
    assert (answer.status_code, answer.json()["code"]) == (401, "api_key_unknown")
    assert other.secret_hash not in await keyed.service.keys.good()


async def test_a_key_with_an_ip_list_is_valid_from_its_addresses_only(keyed):
    key = await keyed.key(
        AccessScope.PAYMENTS_READ, networks=read_networks(["203.0.113.0/24", "2001:db8:0:1::7"])
    )

    async def status(forwarded: str | None) -> int:
        headers = {} if forwarded is None else {"X_Forwarded_For": forwarded}
        return (await keyed.send(key.secret, "GET", "/api/v1/payments", **headers)).status_code

    assert await status("203.0.113.9") == 200
    assert await status("198.51.100.1, 203.0.113.9") == 200, "the proxy's entry counts"
    assert await status("203.0.113.9, 198.51.100.1") == 403, "the client's own entry does not"
    assert await status("2001:db8:0:1::7") == 200
    assert await status("2001:db8:0:1::8") == 403, "in the same /64"
    assert await status(None) == 403
    told = await keyed.send(key.secret, "GET", "/api/v1/payments", X_Forwarded_For="198.51.100.1")
    assert told.json()["code"] == "address_not_allowed"
    assert "198.51.100.1" in told.json()["detail"]


def test_an_ip_list_is_read_or_refused():
    assert read_networks(["203.0.113.7", " ::1/128 "]) == (
        ip_network("203.0.113.7/32"),
        ip_network("::1/128"),
    )
    for wrong in ("203.0.113.7/24", "shop.example", "fe80::1%eth0", "::ffff:203.0.113.7"):
        with pytest.raises(ValueError, match=wrong):
            read_networks([wrong])


async def test_a_rotated_key_and_its_successor_are_both_valid_during_the_overlap(keyed, database_of_file):
    former = await keyed.key(
        AccessScope.PAYMENTS_READ, networks=read_networks(["127.0.0.0/8"]), name="till 7"
    )
    secret = new_secret(Role.MERCHANT, livemode=False)
    successor = NewApiKey(
        secret=secret, role=Role.MERCHANT, merchant_id=MERCHANT, livemode=False, scopes=frozenset()
    )
    before = datetime.now(UTC)
    made = await keyed.service.keys.rotate(former.id, successor.secret_hash, timedelta(hours=24))
    assert made is not None
    assert (made["id"], made["former_id"], made["name"]) == (successor.id, former.id, "till 7")
    assert timedelta(hours=23) < made["former_expires_at"] - before < timedelta(hours=25)
    assert (made["scopes"], made["allowed_ips"]) == (["payments:read"], ["127.0.0.0/8"])
    assert made["expires_at"] is None
    for each in (former.secret, secret):
        assert (await keyed.send(each, "GET", "/api/v1/payments")).status_code == 200
        assert (await keyed.send(each, "POST", "/api/v1/payments")).status_code == 403
    assert await keyed.service.keys.rotate(former.id, b"x" * 32, timedelta(hours=24)) is None, "a second time"
    await keyed.sql("UPDATE api_keys SET expires_at = now() WHERE id = $1", former.id)
    async with keyed_service(database_of_file) as later:
        assert (await later.send(former.secret, "GET", "/api/v1/payments")).status_code == 401
        assert (await later.send(secret, "GET", "/api/v1/payments")).status_code == 200


async def test_a_rotation_never_prolongs_a_key(keyed):
    former = await keyed.key(AccessScope.PAYMENTS_READ, expires_in=timedelta(hours=1))
    expires = (await keyed.row(former))["expires_at"]
    made = await keyed.service.keys.rotate(former.id, uuid.uuid4().bytes * 2, timedelta(hours=24))
    assert made is not None
    assert made["former_expires_at"] == expires
    assert timedelta(0) <= made["expires_at"] - expires < timedelta(minutes=5), "an hour from the rotation"


async def test_the_last_use_is_recorded_in_the_background(keyed):
    key = await keyed.key(AccessScope.PAYMENTS_READ)
    await keyed.send(key.secret, "GET", "/api/v1/payments")
    assert (await keyed.row(key))["last_used_at"] is None, "the request has written nothing"
    await keyed.service.key_usage.write()
    used = (await keyed.row(key))["last_used_at"]
    assert datetime.now(UTC) - used < timedelta(minutes=1)


async def test_the_last_use_of_a_key_is_written_once_a_minute(keyed):
    key = await keyed.key(AccessScope.PAYMENTS_READ)
    await keyed.service.keys.record_use({key.id: 90.0})
    first = (await keyed.row(key))["last_used_at"]
    await keyed.service.keys.record_use({key.id: 60.0})
    assert (await keyed.row(key))["last_used_at"] == first
    await keyed.service.keys.record_use({key.id: 0.0})
    assert (await keyed.row(key))["last_used_at"] > first
