"""OpenTelemetry traces of the service: one trace from a merchant's request to the webhook about its order.

The trace context is stored with the order, so that workers and webhooks processes continue the trace of the
request. Every span that belongs to an order has its id in `synccash.order_id`. Nothing here is used while the
setting `traces_url` is not set: the parts that are wrapped here then run as they are.

Spans have no personal data: no numbers, names, bodies or texts of errors. Nothing about a trace is sent to a
rail.
"""

import contextlib
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Span as RecordedSpan
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from synccash.engine.ports import Dispatch, Rail, SendResult
from synccash.middleware.refusal import App, Message, Receive, Scope, Send
from synccash.observability.opentelemetry import EventRecorder
from synccash.payments.attempt import Attempt
from synccash.payments.audit import AuditNote
from synccash.payments.case import AlreadyClaimed, Case, Commit, Opened, Opening, OpeningResult, Order
from synccash.payments.errors import StoreUnavailableError
from synccash.payments.failure import Failure
from synccash.payments.rail import (
    NO_ATTEMPT_DETAILS,
    AttemptDetails,
    Operation,
    SendAnswer,
    SendOrder,
    StatusAnswer,
)
from synccash.payments.request import Tenant
from synccash.payments.webhook import Delivery, DeliveryResult, MerchantShare
from synccash.resilience.events import Event, EventHook
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.orders.order_store import PostgresOrderStore
from synccash.stores.postgres.orders.order_tables import union
from synccash.stores.postgres.webhooks import NO_LIMITS, NO_SHARES, PostgresWebhooks
from synccash.webhooks.endpoint_pool import Post

ORDER_ID = "synccash.order_id"
"""The attribute that names the payment, refund or payout of a span."""
_ORDER = contexts.create_key(ORDER_ID)
_TRACEPARENT = b"traceparent"
_UNTRACED = frozenset({"/health/live", "/health/ready", "/metrics"})
_WEBHOOK_ID = "webhook-id"
_DELIVERIES_MAX = 10_000
_EXPORT_TIMEOUT_S = 5
_SERVER_ERROR = 500
_PROPAGATOR = TraceContextTextMapPropagator()
_OF_ORDERS = union(
    "SELECT id, traceparent FROM {table} WHERE id = ANY ($1::text[]) AND traceparent IS NOT NULL"
)
_ATTEMPT = "SELECT order_id FROM attempts WHERE callback_token = $1"
_ATTEMPT_OF_REFERENCE = "SELECT order_id FROM attempts WHERE reference = $1::text::uuid AND rail = $2"


class Tracing:
    """Makes the spans of one process, until it is closed. `role`: api, worker or webhooks."""

    def __init__(self, url: str, *, role: str, instance: str, share: float) -> None:
        ratio = TraceIdRatioBased(share)
        # A caller that does not sample its own trace does not decide for ours.
        sampler = ParentBased(ratio, remote_parent_not_sampled=ratio)
        resource = Resource.create(
            {
                "service.namespace": "synccash",
                "service.name": f"synccash-{role}",
                "service.version": version("synccash"),
                "service.instance.id": instance,
            }
        )
        self._provider = TracerProvider(sampler, resource, span_limits=SpanLimits(max_events=64))
        self._provider.add_span_processor(_OrderIds())
        exporter = OTLPSpanExporter(endpoint=url, timeout=_EXPORT_TIMEOUT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self.tracer = self._provider.get_tracer("synccash")

    def close(self) -> None:
        """Send what is left. Blocks for some seconds when the collector does not answer."""
        self._provider.shutdown()

    def layer(self, app: App) -> App:
        """Wrap the HTTP application: a span for each request, in the trace of its `traceparent`."""

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or scope["path"] in _UNTRACED:
                await app(scope, receive, send)
                return
            given = [value.decode("latin-1") for name, value in scope["headers"] if name == _TRACEPARENT]
            parent = context_of(given[0] if len(given) == 1 else None)
            attributes = {"http.request.method": scope["method"]}
            with self.span(scope["method"], attributes, parent=parent, kind=SpanKind.SERVER) as span:
                # The log and the response's header continue this span.
                others = [field for field in scope["headers"] if field[0] != _TRACEPARENT]
                own = (_TRACEPARENT, (current_traceparent() or "").encode())
                inner = {**scope, "headers": [*others, own]}
                await app(inner, receive, _ObservedSend(send, span))
                _name_after_route(span, inner)

        return traced

    def order_store(self, *parts: Any) -> PostgresOrderStore:
        """Return an order store of these parts with a span for each commit and each callback."""
        return _TracedOrderStore(self, *parts)

    def dispatch(self, inner: Dispatch) -> Dispatch:
        """Wrap a dispatch: a span for each call of a rail, with its retries as events."""
        return _TracedDispatch(inner, self)

    def on_event(self, hook: EventHook) -> EventHook:
        """Return a hook that also adds events of the toolkit to the current span."""
        record = EventRecorder()

        def both(event: Event) -> None:
            hook(event)
            record(event)

        return both

    @contextlib.contextmanager
    def around_work(self, case: Case) -> Generator[None]:
        """Continue the order's trace while a worker moves the order forward."""
        attributes: dict[str, AttributeValue] = {
            ORDER_ID: case.order.id,
            "synccash.order_status": case.order.status.value,
            "synccash.callback_came": case.hinted,
        }
        parent = context_of(case.order.traceparent)
        with self.span("work on order", attributes, parent=parent, kind=SpanKind.CONSUMER):
            token = contexts.attach(contexts.set_value(_ORDER, case.order.id))
            try:
                yield
            finally:
                contexts.detach(token)

    def outbox(self, database: Database) -> "TracedOutbox":
        """Return an outbox that remembers the traces of the events that it gives out."""
        return TracedOutbox(database, self)

    @contextlib.contextmanager
    def span(
        self,
        name: str,
        attributes: Mapping[str, AttributeValue],
        *,
        parent: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> Generator[Span]:
        """A current span. An exception makes it an error, without its text, which may hold personal data."""
        with self.tracer.start_as_current_span(
            name,
            context=parent,
            kind=kind,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except BaseException as error:
                span.set_status(StatusCode.ERROR)
                span.set_attribute("error.type", type(error).__name__)
                raise


class _OrderIds(SpanProcessor):
    """Gives each span the id of the order that is worked on."""

    def on_start(self, span: RecordedSpan, parent_context: Context | None = None) -> None:
        order_id = contexts.get_value(_ORDER, parent_context)
        if isinstance(order_id, str):
            span.set_attribute(ORDER_ID, order_id)


class _TracedOrderStore(PostgresOrderStore):
    def __init__(self, tracing: Tracing, *parts: Any) -> None:
        super().__init__(*parts)
        self._tracing = tracing

    async def open(self, asked: Opening[Order], /) -> OpeningResult:
        request = trace.get_current_span()
        with self._tracing.span("commit", {ORDER_ID: asked.order.id, "synccash.commit": "opening"}):
            asked = _with_traceparent(asked, current_traceparent())
            result = await super().open(asked)
        order_id = (
            result.case.order.id
            if isinstance(result, Opened)
            else result.order_id
            if isinstance(result, AlreadyClaimed)
            else None
        )
        if order_id is not None:
            request.set_attribute(ORDER_ID, order_id)
            # For the rest of this task, which works on this order.
            contexts.attach(contexts.set_value(_ORDER, order_id))
        return result

    async def record(self, commit: Commit, note: AuditNote | None = None) -> bool:
        attributes = {ORDER_ID: commit.order.id, "synccash.order_status": commit.order.status.value}
        with self._tracing.span("commit", attributes) as span:
            is_written = await super().record(commit, note)
            span.set_attribute("synccash.written", is_written)
        return is_written

    async def hint(self, token: str, failure: Failure | None = None) -> bool:
        is_known = await super().hint(token, failure)
        if is_known:
            await self._note_callback(_ATTEMPT, token)
        return is_known

    async def hint_reference(self, rail: str, reference: str, failure: Failure | None = None) -> bool:
        is_known = await super().hint_reference(rail, reference, failure)
        if is_known:
            await self._note_callback(_ATTEMPT_OF_REFERENCE, reference, rail)
        return is_known

    async def _note_callback(self, statement: str, *arguments: str) -> None:
        """Add the callback to the order's trace; its own request is linked."""
        request = trace.get_current_span()
        try:
            for row in await self.database.repeat(statement, *arguments):
                order_id: str = row["order_id"]
                traces = await _traceparents(self.database, [order_id])
                request.set_attribute(ORDER_ID, order_id)
                self._tracing.tracer.start_span(
                    "callback",
                    context=context_of(traces.get(order_id)),
                    kind=SpanKind.CONSUMER,
                    attributes={ORDER_ID: order_id},
                    links=[Link(request.get_span_context())],
                ).end()
        except StoreUnavailableError:
            return


class _TracedDispatch:
    def __init__(self, inner: Dispatch, tracing: Tracing) -> None:
        self._inner = inner
        self._tracing = tracing

    async def send(
        self, rail: Rail, order: SendOrder, *, with_retries: bool, breaker_may_refuse: bool, within_s: float
    ) -> SendResult:
        attributes = {"synccash.rail": rail.name, "synccash.operation": order.operation.value}
        with self._tracing.span("rail send", attributes, kind=SpanKind.CLIENT) as span:
            sent = await self._inner.send(
                rail,
                order,
                with_retries=with_retries,
                breaker_may_refuse=breaker_may_refuse,
                within_s=within_s,
            )
            span.set_attribute("synccash.tries", sent.tries)
            span.set_attribute("synccash.evidence", sent.worst.value)
            _note_failure(span, sent.answer.failure)
        return sent

    async def inquire(
        self, rail: Rail, attempt: Attempt, details: AttemptDetails = NO_ATTEMPT_DETAILS
    ) -> StatusAnswer:
        attributes = {ORDER_ID: attempt.order_id, "synccash.rail": rail.name}
        with self._tracing.span("rail inquiry", attributes, kind=SpanKind.CLIENT) as span:
            answer = await self._inner.inquire(rail, attempt, details)
            span.set_attribute("synccash.rail_status", answer.status_at_rail.value)
        return answer

    async def submit_otp(self, rail: Rail, attempt: Attempt, otp: str) -> SendAnswer:
        attributes = {ORDER_ID: attempt.order_id, "synccash.rail": rail.name}
        with self._tracing.span("rail otp", attributes, kind=SpanKind.CLIENT) as span:
            answer = await self._inner.submit_otp(rail, attempt, otp)
            span.set_attribute("synccash.evidence", answer.evidence.value)
            _note_failure(span, answer.failure)
        return answer

    def open_for_s(self, rail: str, operation: Operation) -> float | None:
        return self._inner.open_for_s(rail, operation)


@dataclass(frozen=True)
class TracedOutbox(PostgresWebhooks):
    """An outbox that remembers, for each delivery that it gives out, the order's trace until the post."""

    tracing: Tracing
    _known: dict[str, tuple[str, str | None]] = field(default_factory=dict[str, tuple[str, str | None]])

    async def take(
        self,
        *,
        free: int,
        each: int,
        lease_s: float,
        room: Mapping[str, int] = NO_LIMITS,
        merchant_each: int | None = None,
        shares: Mapping[Tenant, MerchantShare] = NO_SHARES,
    ) -> Sequence[Delivery]:
        """Take due deliveries, and read the traces of their orders."""
        taken = await super().take(
            free=free, each=each, lease_s=lease_s, room=room, merchant_each=merchant_each, shares=shares
        )
        if taken:
            if len(self._known) > _DELIVERIES_MAX:
                self._known.clear()
            traces: Mapping[str, str] = {}
            with contextlib.suppress(StoreUnavailableError):
                traces = await _traceparents(self.database, [delivery.event.object_id for delivery in taken])
            for delivery in taken:
                order_id = delivery.event.object_id
                self._known[delivery.event.id] = (order_id, traces.get(order_id))
        return taken

    def traced(self, post: Post) -> Post:
        """Wrap a post: a span in the order's trace, whose context the merchant's server gets."""

        async def posted(
            url: str, *, headers: Mapping[str, str], body: bytes, timeout_s: float
        ) -> DeliveryResult:
            event_id = headers.get(_WEBHOOK_ID, "")
            order_id, traceparent = self._known.get(
                event_id, ("", None)
            )  # several endpoints may get one event
            attributes = {ORDER_ID: order_id, "synccash.event_id": event_id}
            parent = context_of(traceparent)
            with self.tracing.span("webhook", attributes, parent=parent, kind=SpanKind.PRODUCER) as span:
                own = {"traceparent": current_traceparent() or ""}
                result = await post(url, headers={**headers, **own}, body=body, timeout_s=timeout_s)
                if result.status is not None:
                    span.set_attribute("http.response.status_code", result.status)
                if not result.delivered:
                    span.set_status(StatusCode.ERROR)
            return result

        return posted


class _ObservedSend:
    """Keeps the status of a response on its span."""

    __slots__ = ("_send", "_span")

    def __init__(self, send: Send, span: Span) -> None:
        self._send = send
        self._span = span

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            status: int = message["status"]
            self._span.set_attribute("http.response.status_code", status)
            if status >= _SERVER_ERROR:
                self._span.set_status(StatusCode.ERROR)
        await self._send(message)


def current_traceparent() -> str | None:
    """Return the `traceparent` of the current span; None without one."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get("traceparent")


def context_of(traceparent: str | None) -> Context:
    """Return the context that a `traceparent` names; an empty one, which begins a trace, without one."""
    return _PROPAGATOR.extract({} if traceparent is None else {"traceparent": traceparent}, Context())


def _with_traceparent(asked: Opening[Order], traceparent: str | None) -> Opening[Order]:
    return replace(asked, order=replace(asked.order, traceparent=traceparent))


def _name_after_route(span: Span, scope: Scope) -> None:
    """Name the span by its route, because a path may hold a callback's token."""
    route = scope.get("path_template")
    if not isinstance(route, str):
        return
    span.update_name(f"{scope['method']} {route}")
    span.set_attribute("http.route", route)
    parameters: Mapping[str, object] = scope.get("path_params") or {}
    for name in ("payment_id", "refund_id", "payout_id"):
        if name in parameters:
            span.set_attribute(ORDER_ID, str(parameters[name]))


def _note_failure(span: Span, failure: Failure | None) -> None:
    if failure is not None:
        span.set_attribute("synccash.failure", failure.code.value)
        span.set_status(StatusCode.ERROR)


async def _traceparents(database: Database, order_ids: Sequence[str]) -> Mapping[str, str]:
    return {row["id"]: row["traceparent"] for row in await database.repeat(_OF_ORDERS, list(order_ids))}
