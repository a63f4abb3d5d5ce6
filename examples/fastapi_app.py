"""A shop in FastAPI: limits and idempotency in front, a guarded call behind.

pip install synccash fastapi uvicorn
uvicorn --app-dir examples fastapi_app:app
    curl -i localhost:8000/orders -H 'Idempotency-Key: order-7' --json '{"item": 7}'
"""

from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel

from synccash.middleware import (
    Endpoint,
    MemoryClaims,
    MemoryGuard,
    ResilienceMiddleware,
    nothing_done,
    one_tenant,
)
from synccash.resilience import BreakerSettings, CircuitOpenError, Policy, Retry
from synccash.resilience.rate_limiter import Limit

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


def shop(stock: Stock) -> FastAPI:
    """Wire it up."""
    policy = Policy(
        "stock",
        retry=Retry(attempts=2, base=0.01, on=ConnectionRefusedError),
        breaker=BreakerSettings(failures=4, open_s=10.0),
        total_timeout=2.0,
    )

    api = FastAPI()
    api.add_middleware(
        ResilienceMiddleware,
        endpoints=[Endpoint("POST", "/orders", "order", idempotent="required")],
        identify=one_tenant("shop"),  # a real shop takes the tenant from the caller's API key
        claims=MemoryClaims(),
        guard=MemoryGuard(endpoints={"order": [PER_ADDRESS]}),
    )

    @api.post("/orders", status_code=201)
    async def order(wanted: Order, request: Request) -> dict[str, int]:
        try:
            number = await policy.call(stock.take, wanted.item)
        except CircuitOpenError as error:
            nothing_done(request.scope)  # so a repeat runs again; after other errors it gets 409
            seconds = str(int(error.retry_after or 30) + 1)
            raise HTTPException(503, "the stock is away", {"Retry-After": seconds}) from error
        except ConnectionRefusedError as error:
            nothing_done(request.scope)
            raise HTTPException(503, "the stock is away", {"Retry-After": "1"}) from error
        return {"order": number, "item": wanted.item}

    @api.get("/health")
    async def health() -> dict[str, str]:
        assert policy.breaker is not None
        return {"stock": policy.breaker.state.value}

    return api


app = shop(Stock())
