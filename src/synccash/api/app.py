"""Builds the ASGI application: routes, error handlers, documentation and the middleware around them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from litestar import Litestar, Request, Response
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from litestar.routes import HTTPRoute
from prometheus_client.registry import Collector

from synccash.api.body import ApiRequest, scope_of, take_body
from synccash.api.calls import check_scope, operator_of, tenant_of
from synccash.api.direct_routes import DirectRoutes, payment_routes
from synccash.api.http_counts import HttpCounts
from synccash.api.methods import AllowedMethods
from synccash.api.metrics import HttpCollector, Metrics, metrics
from synccash.api.openapi.docs import AUTHORIZATION, INTRODUCTION, NoFrameworkDocs, openapi_json
from synccash.api.openapi.problems_page import problems_page
from synccash.api.openapi.reference_page import docs_page, docs_script
from synccash.api.ports import Balances, Endpoints, Health, Keys, NoWalletLimits, Reading, WalletLimits
from synccash.api.problem import no_route, refusal_of, refuse, rendered
from synccash.api.queries import check_query, invalid_values
from synccash.api.request_context import InFlight, RequestContext
from synccash.api.route_scopes import check_routes, scopes_by_path
from synccash.api.v1.administration import ADMINISTRATION
from synccash.api.v1.approvals import APPROVALS
from synccash.api.v1.audit import AUDIT
from synccash.api.v1.balance import get_balance
from synccash.api.v1.callbacks import CALLBACKS
from synccash.api.v1.events import EVENTS
from synccash.api.v1.health import HEALTH
from synccash.api.v1.management import Management
from synccash.api.v1.operators import OPERATORS
from synccash.api.v1.order_actions import ORDER_ACTIONS
from synccash.api.v1.payments import PAYMENTS
from synccash.api.v1.payouts import PAYOUTS
from synccash.api.v1.refunds import REFUNDS
from synccash.api.v1.resilience import RESILIENCE
from synccash.api.v1.webhook_endpoints import WEBHOOK_ENDPOINTS, EndpointMaker
from synccash.engine.engine import Engine
from synccash.middleware.authentication import PRINCIPAL, Authentication, KeyCheck
from synccash.middleware.known_keys import KnownKeys
from synccash.middleware.matching import Endpoint, Matcher
from synccash.middleware.refusal import App, Refusal, Scope
from synccash.middleware.whole_body import WholeBody
from synccash.payments.access import CallerKind, Principal
from synccash.payments.errors import StoreUnavailableError
from synccash.resilience.client_address import Address

_RESOURCES = (
    PAYMENTS,
    REFUNDS,
    PAYOUTS,
    get_balance,
    EVENTS,
    WEBHOOK_ENDPOINTS,
    CALLBACKS,
    RESILIENCE,
    OPERATORS,
    APPROVALS,
    ADMINISTRATION,
    ORDER_ACTIONS,
    AUDIT,
)
Layer = Callable[[App], App]


def create_app(
    *,
    engine: Engine,
    keys: Keys,
    reading: Reading,
    balances: Balances,
    health: Health,
    endpoints: Endpoints,
    endpoint_maker: EndpointMaker,
    management: Management,
    new_id: Callable[[], str],
    client_ip: Callable[[Scope], Address | None],
    check_missing_key: KeyCheck,
    check_unknown_key: KeyCheck,
    wallet_limits: WalletLimits | None = None,
    body_timeout_s: float = 10.0,
    collectors: Iterable[Collector] = (),
    layers: Sequence[Layer] = (),
    first_layers: Sequence[Layer] = (),
    in_flight: InFlight | None = None,
) -> App:
    """Return the ASGI application.

    `new_id` generates request ids. `client_ip` returns the client's address. `check_missing_key` decides
    about a request without a key: None answers 401, a Refusal is sent instead. `check_unknown_key` decides
    about a key that this process has not seen: None allows the lookup, a Refusal is sent instead. A body must
    arrive within `body_timeout_s` seconds. `collectors` provide the series of `/metrics`.
    `layers` run between authentication and the routes, the outermost first: they receive the principal in
    the scope and the whole body in one message, and answer errors through `refuse`. `first_layers` run before
    authentication. `in_flight` gets the requests that are being served.
    """
    counts = HttpCounts()
    parts: dict[str, Any] = {
        "engine": engine,
        "reading": reading,
        "balances": balances,
        "health": health,
        "endpoints": endpoints,
        "endpoint_maker": endpoint_maker,
        "management": management,
        "wallet_limits": wallet_limits or NoWalletLimits(),
        "metrics_of": Metrics((HttpCollector(counts), *collectors)),
    }
    routes = _routes(parts)
    served = _served(routes)
    check_routes(served)
    for method, path in served:
        counts.register(method, path)
    handlers = DirectRoutes(routes, payment_routes(engine, reading))  # pyright: ignore[reportArgumentType]
    authenticated = Authentication(
        app=WholeBody(app=_wrapped(handlers, layers), refuse=refuse, timeout_s=body_timeout_s),
        keys=KnownKeys(keys),
        refuse=refuse,
        scopes_of=scopes_by_path(),
        client_ip=client_ip,
        check_missing_key=check_missing_key,
        check_unknown_key=check_unknown_key,
        unavailable=StoreUnavailableError,
    )
    in_flight = in_flight or InFlight()
    in_flight.route_of = _templates(routes)
    return RequestContext(
        # Outside the authentication: the methods of a path are public, as the OpenAPI document is.
        app=_wrapped(AllowedMethods.of(routes).answering_options(authenticated), first_layers),
        refuse=refuse,
        new_id=new_id,
        counts=counts,
        route_of=in_flight.route_of,
        caller_ids=_caller_ids,
        in_flight=in_flight,
    )


def _served(routes: Litestar) -> list[tuple[str, str]]:
    """Return the method and the path template of each route."""
    return [
        (method, route.path_format)
        for route in routes.routes
        if isinstance(route, HTTPRoute)
        for method in sorted(route.methods - {"OPTIONS"})
    ]


def _wrapped(app: App, layers: Sequence[Layer]) -> App:
    """Return `app` inside the layers, of which the first is the outermost."""
    for layer in reversed(layers):
        app = layer(app)
    return app


def _routes(parts: dict[str, Any]) -> Litestar:
    return Litestar(
        [*_RESOURCES, HEALTH, metrics, openapi_json, docs_page, docs_script, problems_page],
        dependencies={
            **{name: Provide(_giving(part), sync_to_thread=False) for name, part in parts.items()},
            **{name: Provide(party) for name, party in _PARTIES.items()},
        },
        before_request=_begin,
        request_class=ApiRequest,
        request_max_body_size=None,
        exception_handlers={
            HTTPException: _on_http,
            Exception: _on_error,
        },
        openapi_config=OpenAPIConfig(
            title="SyncCash Orchestrator",
            version="1",
            path="/openapi",
            render_plugins=[NoFrameworkDocs()],
            use_handler_docstrings=True,
            description=INTRODUCTION,
            components=Components(
                security_schemes={
                    "key": SecurityScheme(
                        type="http", scheme="bearer", bearer_format="sk_…", description=AUTHORIZATION
                    )
                }
            ),
            security=[{"key": []}],
        ),
        logging_config=None,
        signature_types=[
            Engine,
            Reading,
            Balances,
            Health,
            Endpoints,
            EndpointMaker,
            Management,
            Metrics,
            WalletLimits,
        ],
    )


def _templates(routes: Litestar) -> Callable[[str, str], str | None]:
    """Return a function that finds the route template of a method and a path.

    It also works for requests that are refused before they reach a handler.
    """
    matcher = Matcher(
        [
            Endpoint(method, route.path_format, route.path_format)
            for route in routes.routes
            if isinstance(route, HTTPRoute)
            for method in route.methods
        ]
    )

    def template(method: str, path: str) -> str | None:
        match = matcher.match(method, path)
        return None if match is None else match.endpoint.path

    return template


def _caller_ids(scope: Scope) -> Mapping[str, str]:
    """Return the caller's ids for the log: of the key or operator and the merchant, never a secret."""
    principal: Principal | None = scope.get(PRINCIPAL)
    if principal is None:
        return {}
    name = "operator_id" if principal.kind is CallerKind.OPERATOR else "key_id"
    if principal.tenant is None:
        return {name: principal.actor_id}
    return {name: principal.actor_id, "merchant": principal.tenant.merchant_id}


_PARTIES = {"operator": operator_of, "tenant": tenant_of}


async def _begin(request: Request[Any, Any, Any]) -> None:
    """Check the caller before the body is read, so 401 and 403 come before 422. Raises ProblemError.

    Authentication has checked the scope of the path; this checks that of the route that the router has found.
    """
    check_scope(request)
    handler = request.route_handler
    if handler.parsed_data_field is not None:
        for name, check in _PARTIES.items():
            if name in handler.parsed_fn_signature.parameters:
                await check(request)
    if handler.include_in_schema:
        check_query(request)
    await take_body(request)


def _giving(part: Any) -> Callable[[], Any]:
    return lambda: part


def _answer(request: Request[Any, Any, Any], refusal: Refusal) -> Response[bytes]:
    headers, body = rendered(scope_of(request), refusal)
    media_type = headers.pop("Content-Type")
    return Response(body, status_code=refusal.status, media_type=media_type, headers=headers)


def _on_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    return _answer(request, refusal_of(error))


def _on_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Answer an error that Litestar raises: unknown route, wrong method, invalid parameter."""
    if error.status_code == 404:
        return _answer(request, no_route(scope_of(request)))
    if error.status_code == 405:
        allowed = AllowedMethods.of(request.app).header(request.scope["path"])
        return _answer(
            request,
            Refusal(
                status=405,
                code="method_not_allowed",
                detail=f"{request.method} is not allowed here. Allowed methods: {allowed}.",
                headers={"Allow": allowed},
            ),
        )
    if error.status_code == 400:
        extra: Any = error.extra if isinstance(error.extra, list) else []
        errors = [(str(item.get("key", "")), str(item.get("message", ""))) for item in extra]
        return _answer(request, invalid_values(request, errors).refusal)
    return _on_error(request, error)
