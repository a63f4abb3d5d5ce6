"""A shop in FastAPI: limits and idempotency in front, a guarded call behind.

pip install synccash fastapi uvicorn
uvicorn --app-dir examples fastapi_app:app
    curl -i localhost:8000/orders -H 'Idempotency-Key: order-7' --json '{"item": 7}'
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from synccash.middleware.matching import Endpoint
from synccash.middleware.refusal import App, Refusal, Scope, Send
from synccash.middleware.request_guard import Caller, GuardDecision, GuardedRequest
from synccash.middleware.resilience import ResilienceMiddleware
from synccash.resilience import BreakerSettings, CircuitOpenError, Policy, Retry
from synccash.resilience.client_address import client_address
from synccash.resilience.limit_headers import limit_headers
from synccash.resilience.memory_claims import MemoryClaims
from synccash.resilience.rate_limiter import Demand, Limit, MemoryLimiter

PER_ADDRESS = Limit(name="orders", scope="ip", quota=5, period_s=60, burst=1)


class Order(BaseModel):
    """What is ordered."""

    item: int


class Stock:
    """Stands for a service over the network."""

    def __init__(self) -> None:
        self.taken = 0
        self.sick = False

    async def take(self, item: int) -> int:
        """Take one piece; return how many have been taken."""
        if self.sick:
            raise ConnectionRefusedError(item)
        self.taken += 1
        return self.taken


class LocalGuard:
    """The limits of one process. Answers are kept by the claims alone."""

    def __init__(self) -> None:
        self.limiter = MemoryLimiter()

    async def admit(self, request: GuardedRequest) -> GuardDecision:
        """Count the request against the limit of its address."""
        if request.endpoint != "order":
            return GuardDecision()
        decision = self.limiter.check([Demand(PER_ADDRESS, request.caller.ip)])
        headers = tuple((name.lower().encode(), value.encode()) for name, value in limit_headers(decision))
        if decision.allowed:
            return GuardDecision(headers=headers)
        wait_s = decision.retry_after_s
        refusal = Refusal(
            status=429, code="rate_limited", detail="too many orders", retryable=True, retry_after_s=wait_s
        )
        return GuardDecision(refusal=refusal, headers=headers)

    def keep(self, answer_name: str, stored: bytes) -> None:
        """There is no cache."""


def identify(scope: Scope) -> Caller:
    """Everybody is the same tenant here; a real shop takes it from the caller's API key."""
    peer = scope["client"][0] if scope.get("client") else None
    return Caller(ip=client_address(peer, (), trusted=()), tenant="shop")


async def refuse(scope: Scope, send: Send, refusal: Refusal) -> None:
    """Tell the caller what was wrong."""
    del scope
    body = json.dumps({"code": refusal.code, "detail": refusal.detail}).encode()
    headers = [(b"content-type", b"application/problem+json")]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def guarded(app: App, guard: LocalGuard) -> ResilienceMiddleware:
    """The application behind limits and idempotency keys."""
    return ResilienceMiddleware(
        app,
        endpoints=[Endpoint("POST", "/orders", "order", idempotent="required")],
        identify=identify,
        refuse=refuse,
        guard=guard,
        claims=MemoryClaims(),
    )


def shop(stock: Stock) -> ResilienceMiddleware:
    """Wire it up."""
    policy = Policy(
        "stock",
        retry=Retry(attempts=2, base=0.01, on=ConnectionRefusedError),
        breaker=BreakerSettings(failures=4, open_s=10.0),
        total_timeout=2.0,
    )

    @asynccontextmanager
    async def lifespan(api: FastAPI) -> AsyncIterator[None]:
        del api
        yield
        await layered.close()

    api = FastAPI(lifespan=lifespan)

    @api.post("/orders", status_code=201)
    async def order(wanted: Order) -> dict[str, int]:
        try:
            number = await policy.call(stock.take, wanted.item)
        except CircuitOpenError as error:
            seconds = str(int(error.retry_after) + 1)
            raise HTTPException(503, "the stock is away", {"Retry-After": seconds}) from error
        except ConnectionRefusedError as error:
            raise HTTPException(503, "the stock is away", {"Retry-After": "1"}) from error
        return {"order": number, "item": wanted.item}

    @api.get("/health")
    async def health() -> dict[str, str]:
        assert policy.breaker is not None
        return {"stock": policy.breaker.state.value}

    layered = guarded(api, LocalGuard())
    return layered


app = shop(Stock())
