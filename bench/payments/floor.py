"""The floor under a payment: `python -m bench.payments.floor serve`, with its addresses in the environment.

It makes the network calls and commits of one collected payment with the libraries of the service and no
logic: a Litestar handler, one Valkey script, three naturally batched statements, POST and GET to the sink,
its callback. It encrypts and hashes what the service encrypts and hashes.
"""

import asyncio
import os
import uuid
from collections.abc import Sequence
from typing import Any

import aiohttp
import asyncpg
import msgspec
import redis.asyncio as redis
import uvicorn
from litestar import Litestar, Request, post
from litestar.response import Response

from bench.payments import floor_statements
from synccash.settings.encryption_keys import EncryptionKeys
from synccash.stores.encryption import Encryption

_encode = msgspec.json.encode
_MERCHANT = "mer_floor"
_CONNECTIONS = 6
_WRITERS = 2
_ANSWER_BYTES = 1_100
"""About the size of the service's answer."""


class _Payer(msgspec.Struct, forbid_unknown_fields=True):
    msisdn: str


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    amount: int
    currency: str
    payer: _Payer
    reference: str


class _Payment(msgspec.Struct):
    id: str
    amount: int
    currency: str
    status: str
    reference: str
    msisdn: str
    attempts: list[dict[str, str]]


class Batch:
    """Runs one statement for all rows that have come while the connections were busy."""

    def __init__(self, pool: asyncpg.Pool, statement: str) -> None:
        self._pool = pool
        self._statement = statement
        self._free = _WRITERS
        self._waiting: list[tuple[Sequence[Any], asyncio.Future[None]]] = []
        self._tasks = set[asyncio.Task[None]]()

    async def put(self, *row: Any) -> None:
        """Return when the row is committed."""
        loop = asyncio.get_running_loop()
        committed = loop.create_future()
        self._waiting.append((row, committed))
        if self._free:
            self._free -= 1
            task = loop.create_task(self._write())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        await committed

    async def _write(self) -> None:
        # Rows may come while a connection is given back, and nobody else writes them if no further row comes.
        while self._waiting:
            async with self._pool.acquire() as connection:
                while self._waiting:
                    await self._write_waiting(connection)
        self._free += 1

    async def _write_waiting(self, connection: Any) -> None:
        # In one order of rows, so that two statements do not wait for each other.
        taken, self._waiting = sorted(self._waiting, key=lambda one: one[0][0]), []
        columns = map(list, zip(*(row for row, _ in taken), strict=True))
        try:
            await connection.fetch(self._statement, *columns)
        except asyncpg.PostgresError as error:
            for _, committed in taken:
                committed.set_exception(error)
            return
        for _, committed in taken:
            committed.set_result(None)


class Floor:
    """The handlers and what they use."""

    def __init__(self, pool: asyncpg.Pool, valkey_url: str, sink_url: str) -> None:
        self._opened = Batch(pool, floor_statements.OPEN)
        self._sent = Batch(pool, floor_statements.SENT)
        self._ended = Batch(pool, floor_statements.ENDED)
        connections = redis.BlockingConnectionPool.from_url(valkey_url, max_connections=64, timeout=30)
        self._valkey = redis.Redis(connection_pool=connections)
        self._limits = self._valkey.register_script(floor_statements.LIMITS)
        self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self._sink_url = sink_url
        self._encryption = Encryption(EncryptionKeys.of(f"1:{os.urandom(32).hex()}"), os.urandom(32))
        self._sending: dict[str, asyncio.Future[None]] = {}
        self._tasks = set[asyncio.Task[None]]()

    async def pay(self, body: _Body, idempotency_key: str) -> bytes:
        """Make one payment and return its answer."""
        seal, token = self._encryption.seal, self._encryption.token
        payer, key = token("payer", body.payer.msisdn), token("idempotency_key", idempotency_key)
        answer_key = f"answer:{key}"
        await self._limits(keys=[f"user:{payer}", "key:1", "address:1", "all", answer_key])
        payment_id, attempt_id, rail_reference = uuid.uuid4().hex, uuid.uuid4().hex, uuid.uuid4()
        sent = self._sending[payment_id] = asyncio.get_running_loop().create_future()
        await self._opened.put(
            payment_id,
            _MERCHANT,
            token("reference", body.reference),
            body.amount,
            payer,
            key,
            attempt_id,
            rail_reference,
            seal(f"fingerprint:{payment_id}", b"x" * 32),
            seal(
                f"payments:{payment_id}", _encode({"reference": body.reference, "payer": body.payer.msisdn})
            ),
        )
        asked = {
            "amount": str(body.amount),
            "externalId": str(rail_reference),
            "cb": f"{payment_id}.{attempt_id}",
        }
        headers = {"X-Reference-Id": str(rail_reference), "Authorization": "Bearer x"}
        async with self._http.post(f"{self._sink_url}/pay", data=_encode(asked), headers=headers) as reply:
            await reply.read()
        attempts = [{"id": attempt_id, "reference": str(rail_reference)}]
        payment = _Payment(
            payment_id, body.amount, "GHS", "processing", body.reference, body.payer.msisdn, attempts
        )
        answer = _encode(payment).ljust(_ANSWER_BYTES)
        event = seal(f"events:{payment_id}:1", b"{}")
        await self._sent.put(
            payment_id, _MERCHANT, key, attempt_id, seal(f"answer:{payment_id}", answer), event
        )
        del self._sending[payment_id]
        sent.set_result(None)
        await self._valkey.set(answer_key, seal(answer_key, answer), px=60_000)
        return answer

    def hint(self, token: str) -> None:
        """Ask the sink about the payment that a callback names."""
        task = asyncio.get_running_loop().create_task(self._inquire(*token.split(".")))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _inquire(self, payment_id: str, attempt_id: str) -> None:
        async with self._http.get(f"{self._sink_url}/status/{payment_id}") as reply:
            msgspec.json.decode(await reply.read())
        # On a busy machine the callback can be here before the second commit.
        if (sent := self._sending.get(payment_id)) is not None:
            await sent
        event = self._encryption.seal(f"events:{payment_id}:2", b"{}")
        await self._ended.put(payment_id, attempt_id, event)
        await self._valkey.publish("events", payment_id)


@post("/api/v1/payments")
async def pay(data: _Body, request: Request) -> Response[bytes]:
    """Make a payment."""
    answer = await request.app.state.floor.pay(data, request.headers["idempotency-key"])
    return Response(answer, media_type="application/json", status_code=201)


@post("/callbacks/{token:str}")
async def callback(token: str, request: Request) -> Response[bytes]:
    """Take the sink's callback."""
    await request.body()
    request.app.state.floor.hint(token)
    return Response(b"", status_code=200)


async def _start(app: Litestar) -> None:
    database_url, given = os.environ["FLOOR_DATABASE_URL"], os.environ
    pool = await asyncpg.create_pool(database_url, min_size=_CONNECTIONS, max_size=_CONNECTIONS)
    app.state.floor = Floor(pool, given["FLOOR_VALKEY_URL"], given["FLOOR_SINK_URL"])


if __name__ == "__main__":
    uvicorn.run(
        Litestar([pay, callback], on_startup=[_start], openapi_config=None),
        host="127.0.0.1",
        port=int(os.environ["FLOOR_PORT"]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="critical",
        timeout_keep_alive=900,
    )
