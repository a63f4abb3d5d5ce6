"""Writes webhook endpoints and events whose deliveries have failed into the database."""

import uuid
from datetime import datetime, timedelta

from synccash.stores.postgres.database import Database


async def add_endpoint(database: Database, merchant_id: str, status: str = "enabled") -> str:
    """An endpoint of a merchant in test mode; returns its id."""
    endpoint_id = f"we_{uuid.uuid4().hex}"
    await database.repeat(
        "INSERT INTO webhook_endpoints (id, merchant_id, livemode, url, secrets, status, verified_at) "
        "VALUES ($1, $2, false, 'https://shop.example/hooks', '[]', $3, now())",
        endpoint_id,
        merchant_id,
        status,
    )
    return endpoint_id


async def add_failed_event(
    database: Database,
    merchant_id: str,
    endpoint_id: str,
    at: datetime,
    *,
    due_in: timedelta | None = None,
    order_id: str = "pay_1",
) -> str:
    """An event with a delivery that was tried and given up, or tried again after `due_in`; returns its id."""
    event_id = f"evt_{uuid.uuid4().hex}"
    await database.repeat(
        "INSERT INTO events (id, merchant_id, livemode, type, created_at, object_id, object_version, data) "
        "VALUES ($1, $2, false, 'payment.succeeded', $3, $4, 1, '{}')",
        event_id,
        merchant_id,
        at,
        order_id,
    )
    await database.repeat(
        "INSERT INTO deliveries (event_id, endpoint_id, tries, last_status, due_at) "
        "VALUES ($1, $2, 9, 503, now() + $3)",
        event_id,
        endpoint_id,
        due_in,
    )
    return event_id
