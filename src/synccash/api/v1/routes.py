"""`/resilience/routes`: shows which rail a payment or payout would use now, and why. Nothing is sent."""

from typing import Annotated, Literal

from litestar import get
from litestar.di import NamedDependency as Given
from litestar.params import QueryParameter

from synccash.api.calls import Json, answers, json
from synccash.api.schemas.resilience_answers import RouteShown
from synccash.engine.dispatch.router import RoutingQuery
from synccash.engine.engine import Engine
from synccash.payments.payer import Network
from synccash.payments.rail import Operation


@get("/routes", responses=answers({200: RouteShown}, 422))
async def dry_run(
    engine: Given[Engine],
    operator: Given[str],
    network: Annotated[Network | None, QueryParameter(description="The network of the wallet")] = None,
    operation: Annotated[
        Literal["collect", "payout"], QueryParameter(description="collect: a payment")
    ] = "collect",
    amount: Annotated[int, QueryParameter(ge=1, le=10**12, description="Pesewas")] = 2500,
    merchant: Annotated[str, QueryParameter(max_length=64, description="The id of a merchant")] = "",
    payment: Annotated[
        str, QueryParameter(max_length=64, description="The id of a payment, for a percentage split")
    ] = "",
    mode: Annotated[
        Literal["live", "test"] | None, QueryParameter(description="The mode of the order")
    ] = None,
) -> Json:
    """Rank the rails as this process would now. `payment` is an id, for the effect of a percentage split.
    `mode` is that of the order; by default live when any rail has a live account, else test."""
    del operator
    query = RoutingQuery(
        network=network,
        operation=Operation(operation),
        amount=amount,
        merchant_id=merchant,
        key=payment,
        livemode=engine.router.has_live_account if mode is None else mode == "live",
    )
    return json(engine.router.dry_run(query))
