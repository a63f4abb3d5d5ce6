"""`synccash routes`: a dry run of routing that shows which rail would be chosen, and why."""

from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from synccash.commands.terminal import print_json, print_table, settings

ROUTES = App(name="routes", help="Show which rail a payment or payout would use, and why. Sends nothing.")
_NO_RAIL = 2


@ROUTES.default
def routes(
    *,
    network: Literal["mtn", "telecel", "at"] | None = None,
    amount: Annotated[int, Parameter(help="Amount in pesewas.")] = 2500,
    operation: Literal["collect", "payout"] = "collect",
    merchant: Annotated[str, Parameter(help="Merchant id, for rules of one merchant.")] = "",
    payment: Annotated[str, Parameter(help="Payment id, to see which side of a split it falls on.")] = "",
    mode: Annotated[
        Literal["live", "test"] | None,
        Parameter(help="Mode of the order; by default live if any rail has a live account, else test."),
    ] = None,
    assume: Annotated[
        tuple[str, ...],
        Parameter(
            negative="",
            help="Assume a rail's state: RAIL=HEALTH from 0 to 1, or RAIL=open for an open breaker.",
        ),
    ] = (),
    live: Annotated[
        bool, Parameter(negative="", help="Use the present health and breakers of the running service.")
    ] = False,
    url: Annotated[str | None, Parameter(help="URL of the API, with --live.")] = None,
    json: bool = False,
) -> int:
    """Use the settings of this shell and assume healthy rails; with --live, ask the running service.

    Exits with 0 if a rail would be chosen, 2 if none would, and 1 on an error.
    """
    from synccash.administration.errors import AdministrationError

    if live and assume:
        raise AdministrationError("--assume works with the settings of this shell only: leave out --live")
    if amount < 1:
        raise AdministrationError("--amount: expected pesewas, at least 1")
    query: dict[str, Any] = {
        "amount": amount,
        "operation": operation,
        "merchant": merchant,
        "payment": payment,
        **({} if network is None else {"network": network}),
        **({} if mode is None else {"mode": mode}),
    }
    found = _live_route(query, url) if live else _route_by_settings(query, assume)
    if json:
        print_json(found)
    else:
        _print(found)
    return 0 if found["chosen"] else _NO_RAIL


def _live_route(query: dict[str, Any], url: str | None) -> dict[str, Any]:
    from synccash.administration.api import management_api

    return management_api(settings(), url).get("resilience", "routes", query=query)


def _route_by_settings(query: dict[str, Any], assume: tuple[str, ...]) -> dict[str, Any]:
    from synccash.administration.routes import dry_run
    from synccash.engine.dispatch.router import RoutingQuery
    from synccash.payments.payer import Network
    from synccash.payments.rail import Operation

    scores, open_rails = _parse_assumptions(assume)
    asked = RoutingQuery(
        network=Network(query["network"]) if "network" in query else None,
        operation=Operation(query["operation"]),
        amount=query["amount"],
        merchant_id=query["merchant"],
        key=query["payment"],
        livemode=query.get("mode") == "live",
    )
    return dry_run(settings(), asked, scores=scores, open_rails=open_rails, is_mode_given="mode" in query)


def _parse_assumptions(assume: tuple[str, ...]) -> tuple[dict[str, float], frozenset[str]]:
    from synccash.administration.errors import AdministrationError

    scores: dict[str, float] = {}
    open_rails: set[str] = set()
    for one in assume:
        rail, _, value = one.partition("=")
        if value == "open":
            open_rails.add(rail)
            continue
        try:
            scores[rail] = float(value)
        except ValueError:
            scores[rail] = -1.0
        if not 0.0 <= scores[rail] <= 1.0:
            raise AdministrationError(f"--assume {one}: expected RAIL=HEALTH from 0 to 1, or RAIL=open")
    return scores, frozenset(open_rails)


def _print(found: dict[str, Any]) -> None:
    print(f"{found['chosen'] or 'no rail'}: {found['reason']}")
    rows = [
        (
            one["rail"],
            one["score"],
            one["health"],
            one["cost_percent"],
            one["preferred"],
            one["share_percent"],
            one.get("skipped", ""),
        )
        for one in found["considered"]
    ]
    titles = ("rail", "score", "health", "cost %", "preferred", "share %", "skipped")
    nothing = "The settings of this shell configure no rail. To ask the running service: --live"
    print_table(titles, rows, nothing=nothing)
