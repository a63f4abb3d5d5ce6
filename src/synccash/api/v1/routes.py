"""`/resilience/routes`: shows which rail an order would use now, and what other rules would change.

Nothing is sent or changed."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Literal

from litestar import get, post
from litestar.di import NamedDependency as Given
from litestar.params import JSONBody, QueryParameter

from synccash.api.calls import Json, answers, json
from synccash.api.problem import invalid
from synccash.api.schemas.operator_requests import RoutingRulesBody
from synccash.api.schemas.resilience_answers import RouteShown, RoutingReplayShown
from synccash.api.v1.management import Management
from synccash.engine.dispatch.router import RoutingQuery
from synccash.engine.engine import Engine
from synccash.payments.payer import Network
from synccash.payments.rail import Capabilities, Operation
from synccash.payments.routing_replay import replay_routing
from synccash.payments.routing_rules import RoutingRules, read_rules


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


_REPLAYED = 1_000


@post("/routes/replay", status_code=200, responses=answers({200: RoutingReplayShown}, 400, 415, 422))
async def replay(
    data: JSONBody[RoutingRulesBody],
    engine: Given[Engine],
    management: Given[Management],
    operator: Given[str],
) -> Json:
    """Choose the rails of the last hour's orders again, under other rules: at most the newest 1,000 payments
    and 1,000 payouts. Nothing changes: the rules in force are settings."""
    del operator
    router = engine.router
    rails = {name: rail.capabilities for name, rail in router.rails.items()}
    rules = _rules(data, rails, router.rules)
    # It takes some 0.2 s of CPU: in a thread, so that payments go on meanwhile.
    found = await asyncio.to_thread(
        replay_routing,
        await management.administration.routed_orders(_REPLAYED),
        rails,
        former=router.rules,
        new=rules,
        unhealthy_below=router.health.settings.unhealthy_below,
    )
    moves = [
        {
            "operation": one.operation.value,
            "former": one.former,
            "new": one.new,
            "orders": one.orders,
            "amount": one.amount,
        }
        for one in found.moves
    ]
    return json(
        {
            "orders": found.orders,
            "unrouted": found.unrouted,
            "moved": found.moved,
            "moves": moves,
            "cost_used": round(found.cost_used, 2),
            "cost_new": round(found.cost_new, 2),
        }
    )


def _rules(data: RoutingRulesBody, rails: Mapping[str, Capabilities], now: RoutingRules) -> RoutingRules:
    """Return the rules of the body. Raises ProblemError 422 with each mistake under its field."""
    try:
        return read_rules(
            rails,
            costs=data.costs,
            preferences=data.preferences,
            splits=data.splits,
            cost_weight=now.cost_weight if data.cost_weight is None else data.cost_weight,
            preference_step=now.preference_step if data.preference_step is None else data.preference_step,
        )
    except ValueError as error:
        lines = [line.removeprefix("routing_").partition(": ") for line in str(error).splitlines()]
        raise invalid(*((name, text) for name, _, text in lines)) from error
