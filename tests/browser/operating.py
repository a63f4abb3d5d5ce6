"""What a merchant and an operator do with a service, for the tests in a browser."""

import uuid
from collections.abc import Awaitable, Callable

from service.in_process import RunningService
from service.installation import call, wait_until
from synccash.administration.operators.console_link import make_console_link
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.pool import connect


def pay(service: RunningService, **more):
    """A new payment of the first merchant; what the API answers."""
    body = {
        "amount": 2500,
        "currency": "GHS",
        "payer": {"msisdn": "0241234567"},
        "reference": uuid.uuid4().hex,
    }
    headers = {"Authorization": f"Bearer {service.key}", "Idempotency-Key": uuid.uuid4().hex}
    return call("POST", f"{service.url}/api/v1/payments", {**body, **more}, **headers).body


async def link_of(database_url: str, url: str) -> str:
    """A link that signs in once."""
    links: list[str] = []

    async def make(database: Database) -> None:
        links.append(await make_console_link(database, url))

    await with_database(database_url, make)
    return links[0]


async def with_database(database_url: str, work: Callable[[Database], Awaitable[None]]) -> None:
    """Run `work` on the database of a service."""
    pool = await connect(database_url, min_size=0, max_size=1)
    try:
        await work(Database(pool))
    finally:
        await pool.close()


def operate(service: RunningService, method: str, path: str, body: object = None) -> None:
    """Call the API with the admin key."""
    answer = call(method, f"{service.url}/api/v1{path}", body, Authorization=f"Bearer {service.admin_key}")
    assert answer.status < 300, answer


def read(service, payment_id: str, is_there) -> str:
    """Wait until what the merchant reads of a payment is as expected."""
    path = f"{service.url}/api/v1/payments/{payment_id}"
    headers = {"Authorization": f"Bearer {service.key}"}
    wait_until(f"{payment_id} is there", lambda: is_there(call("GET", path, **headers).body))
    return payment_id
