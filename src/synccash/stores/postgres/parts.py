"""SQL fragments that several statements of the order store share."""

_ATTEMPT = (
    "id",
    "order_id",
    "sequence",
    "operation",
    "rail",
    "account",
    "base_url",
    "target_environment",
    "account_identity",
    "reference",
    "callback_token",
    "amount",
    "opened_fence",
    "started_at",
    "state",
    "evidence",
    "sends",
    "inquiries",
    "quiet_since",
    "latency_ms",
    "provider_code",
    "provider_transaction_id",
    "failure",
    "retry_decision",
    "amount_received",
    "refund_reserved",
    "not_founds",
    "moved_at",
    "reversed_at",
    "callback_checked_at",
    "reference_key",
)
ATTEMPT_COLUMNS = ", ".join(_ATTEMPT)
ATTEMPT_VALUES = ", ".join(f"a.{column}" for column in _ATTEMPT)


def event_steps(source: str) -> str:
    """Return the steps that write events, deliveries and timeline entries of the orders in the step
    `source`."""
    return f"""
new_events AS (
    INSERT INTO events (id, merchant_id, livemode, type, created_at, object_id, object_version, data,
        sealed)
    SELECT e.id, e.merchant_id, e.livemode, e.type, e.created_at, e.object_id, e.object_version, e.data,
        e.sealed
    FROM {source}, json_populate_recordset(NULL::events, {source}.events) e
    RETURNING id, merchant_id, livemode, type
),
{new_deliveries("new_events")},
new_timeline AS (
    INSERT INTO timeline (order_id, at, kind, data, sealed)
    SELECT {source}.order_id, t.at, t.kind, t.data, t.sealed
    FROM {source}, json_populate_recordset(NULL::timeline, {source}.timeline) t
)"""  # noqa: S608 - `source` is a step's name in our own statements


def new_deliveries(source: str, condition: str = "true") -> str:
    """Return the step that writes the deliveries of the events in the step `source`: one for each endpoint
    that subscribes to the event's type and meets `condition`. Those of a pending endpoint become due when it
    is verified. OFFSET 0 keeps the statement from reading the endpoints of all merchants."""
    return f"""
new_deliveries AS (
    INSERT INTO deliveries (event_id, endpoint_id, due_at)
    SELECT e.id, w.id, CASE w.status WHEN 'pending' THEN 'infinity' ELSE now() END
    FROM {source} e CROSS JOIN LATERAL (
        SELECT * FROM webhook_endpoints
        WHERE merchant_id = e.merchant_id AND livemode = e.livemode AND status IN ('pending', 'enabled')
        OFFSET 0
    ) w
    WHERE (w.types IS NULL OR w.types::jsonb ? e.type) AND {condition}
    RETURNING event_id
)"""  # noqa: S608 - put together from words of our own statements


def attempts_of(order: str) -> str:
    """Return a subquery for the attempts of the order with the id `order` (an SQL expression), in sequence,
    as a JSON array."""
    return f"(SELECT json_agg(a ORDER BY a.sequence) FROM attempts a WHERE a.order_id = {order})"  # noqa: S608
