"""The API in process, over a real database and a rail that refuses every connection."""

import contextlib
import json
import uuid
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import httpx

from servers_fixture import service_url
from synccash.administration.operators.operators import Operators
from synccash.api.roles import OPERATORS_ONLY
from synccash.api.route_scopes import BASE
from synccash.middleware.refusal import App
from synccash.payments.request import Role, Tenant
from synccash.processes.api import application
from synccash.processes.assembly.service import assembled
from synccash.settings.loader import Settings

NUMBER = "0241234567"
INSTALLATION_KEY = "5c" * 32
PROBLEM = "application/problem+json"


def settings(database_url: str, **more: Any) -> Settings:
    limits = "payment_initiation=100000/60, refund_request=100000/60, payment_status=100000/60"
    given: dict[str, Any] = {
        "installation_key": INSTALLATION_KEY,
        "encryption_keys": "1:" + "e1" * 32,
        "lookup_key": "e2" * 32,
        "mtn_momo_environment": "test",
        "mtn_momo_base_url": "http://127.0.0.1:9",
        "mtn_momo_collection_user": "user",
        "mtn_momo_collection_key": "canary-rail-key",
        "mtn_momo_collection_subscription_key": "canary-subscription",
        "mtn_momo_disbursement_user": "user",
        "mtn_momo_disbursement_key": "canary-rail-key",
        "mtn_momo_disbursement_subscription_key": "canary-subscription",
        "request_deadline_s": 0.3,  # no rail answers, so each new order waits for this
        "rate_limits": limits,
    }
    return Settings(database_url=database_url, **given | more)


@dataclass(frozen=True, slots=True)
class Served:
    app: App
    client: httpx.AsyncClient
    tenant: Tenant
    key: str
    other_key: str
    admin_key: str
    operators: Operators

    def secret_for(self, method: str, path: str, operation: Mapping[str, Any], operator: str) -> str:
        """What may make a call: the key of the scope that the document shows, or `operator`, a token, where
        an admin key may not."""
        if f"{method.upper()} {path.removeprefix(BASE)}" in OPERATORS_ONLY:
            return operator
        scopes = [scope for one in operation.get("security", ()) for scope in one["key"]]
        return self.admin_key if any(scope.startswith("admin:") for scope in scopes) else self.key

    async def send(self, method: str, path: str, body: Any = None, key: str | None = None, **headers: str):
        given = {"Authorization": f"Bearer {key or self.key}"}
        if body is not None:
            given["Content-Type"] = "application/json"
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        return await self.client.request(method, "/api/v1" + path, content=content, headers=given)

    async def pay(self, **more: Any) -> httpx.Response:
        return await self.send("POST", "/payments", payment(**more), Idempotency_Key=uuid.uuid4().hex)


def payment(**more: Any) -> dict[str, Any]:
    body = {"amount": 100, "currency": "GHS", "payer": {"msisdn": NUMBER}, "reference": uuid.uuid4().hex}
    return {**body, **more}


@contextlib.asynccontextmanager
async def served(database_url: str, **more: Any) -> AsyncGenerator[Served]:
    chosen = settings(database_url, **more)
    # As the role that services have: what it may not do shows in every test.
    async with assembled(chosen, await service_url(database_url)) as service:
        keys = {name: f"sk_{name}_{uuid.uuid4().hex}" for name in ("test", "other", "admin")}
        for name, secret in keys.items():
            merchant = None if name == "admin" else f"mer_{name}"
            if merchant:
                await service.keys.ensure_merchant(merchant, name)
            role = Role.MERCHANT if merchant else Role.ADMIN
            hashed = sha256(secret.encode()).digest()
            await service.keys.ensure_key(hashed, role, merchant_id=merchant, livemode=False)
        app = application(service, chosen)
        transport = httpx.ASGITransport(app=app)  # pyright: ignore
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            yield Served(
                app,
                client,
                Tenant("mer_test", livemode=False),
                keys["test"],
                keys["other"],
                keys["admin"],
                service.operators,
            )
