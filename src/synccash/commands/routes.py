"""`synccash routes`: which rail would be taken, and why. Nothing is sent."""

from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from synccash.commands.terminal import print_json, print_table, settings

ROUTES = App(name="routes", help="Which rail a payment or payout would take, and why; nothing is sent.")
_NO_RAIL = 2


@ROUTES.default
def routes(
    *,
    network: Literal["mtn", "telecel", "at"] | None = None,
    amount: Annotated[int, Parameter(help="Pesewas.")] = 2500,
    operation: Literal["collect", "payout"] = "collect",
    merchant: Annotated[str, Parameter(help="For rules of one merchant.")] = "",
    payment: Annotated[str, Parameter(help="An id: what a split does with it.")] = "",
    mode: Annotated[
        Literal["live", "test"] | None,
        Parameter(help="Of the order; live by default where any rail has a live account, else test."),
    ] = None,
    assume: Annotated[
        tuple[str, ...],
        Parameter(negative="", help="RAIL=HEALTH from 0 to 1, or RAIL=open: as if it were so."),
    ] = (),
    live: Annotated[bool, Parameter(negative="", help="Ask the running service how it stands now.")] = False,
    url: Annotated[str | None, Parameter(help="Where the API is, with --live.")] = None,
    json: bool = False,
) -> int:
    """By the settings of this shell and full health, or with --live as the running service stands now.

    The exit code is 0 where a rail would be chosen, 2 where none would, 1 where something cannot be used.
    """
    from synccash.administration.errors import AdministrationError

    if live and assume:
        raise AdministrationError("--assume is for the settings of this shell: leave --live away")
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
    found = _as_it_stands(query, url) if live else _by_the_settings(query, assume)
    if json:
        print_json(found)
    else:
        _print(found)
    return 0 if found["chosen"] else _NO_RAIL


def _as_it_stands(query: dict[str, Any], url: str | None) -> dict[str, Any]:
    from synccash.administration.api import management_api

    return management_api(settings(), url).get("resilience", "routes", query=query)


def _by_the_settings(query: dict[str, Any], assume: tuple[str, ...]) -> dict[str, Any]:
    from synccash.administration.routes import dry_run
    from synccash.engine.dispatch.router import RoutingQuery
    from synccash.payments.payer import Network
    from synccash.payments.rail import Operation

    scores, shut = _assumed(assume)
    asked = RoutingQuery(
        network=Network(query["network"]) if "network" in query else None,
        operation=Operation(query["operation"]),
        amount=query["amount"],
        merchant_id=query["merchant"],
        key=query["payment"],
        livemode=query.get("mode") == "live",
    )
    return dry_run(settings(), asked, scores=scores, shut=shut, is_mode_given="mode" in query)


def _assumed(assume: tuple[str, ...]) -> tuple[dict[str, float], frozenset[str]]:
    from synccash.administration.errors import AdministrationError

    scores: dict[str, float] = {}
    shut: set[str] = set()
    for one in assume:
        rail, _, value = one.partition("=")
        if value == "open":
            shut.add(rail)
            continue
        try:
            scores[rail] = float(value)
        except ValueError:
            scores[rail] = -1.0
        if not 0.0 <= scores[rail] <= 1.0:
            raise AdministrationError(f"--assume {one}: expected RAIL=HEALTH from 0 to 1, or RAIL=open")
    return scores, frozenset(shut)


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
    nothing = "the settings of this shell set up no rail; --live asks the running service"
    print_table(titles, rows, nothing=nothing)
