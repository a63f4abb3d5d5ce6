"""One run: the sandbox's rails, PostgreSQL, the real engine twice, merchants, and trouble."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from aiohttp import web

from drill.script import TROUBLE_S, Asked, Script
from synccash.engine.dispatch import DispatchSettings, PolicyDispatch
from synccash.engine.engine import Engine, build_engine
from synccash.engine.settings import EngineSettings
from synccash.payments.case import Claim
from synccash.payments.errors import PaymentError
from synccash.payments.ladder import Ladder
from synccash.payments.payer import Msisdn, Payer
from synccash.payments.payout import Payee
from synccash.payments.request import PaymentRequest, PayoutRequest, RefundRequest, Reply, Tenant
from synccash.rails.registry import build_rails
from synccash.rails.transport import Transport
from synccash.resilience.circuit_breaker import BreakerSettings
from synccash.resilience.profiles import Profile
from synccash.resilience.registry import Registry
from synccash.resilience.retry import Retry
from synccash.sandbox.faults import Faults, Step
from synccash.sandbox.faults import Script as RailScript
from synccash.sandbox.rail import Timings
from synccash.sandbox.server import Sandbox, run_sandbox
from synccash.sandbox_accounts import ACCOUNTS, Place
from synccash.settings import Settings
from synccash.stores.local_doorbell import LocalDoorbell
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.ledger import PostgresLedger
from synccash.stores.postgres.pool import Pool, connect
from synccash.system import SystemClock, SystemIdentities

TENANT = Tenant("m_drill", livemode=False)
USER, KEY = "0b1c7d52-6f0e-4c0a-9a53-6d1f3d1f2a10", "5d" * 16
OTP = "123456"
FINAL = ("succeeded", "failed", "canceled")
RETRY = Retry(attempts=3, base=0.05, cap=0.2)
BREAKER = BreakerSettings(failures=3, open_s=0.2, open_max_s=0.5)
PROFILES = {"*": Profile(retry=RETRY, breaker=BREAKER, total_timeout=2.0)}
CALLS = DispatchSettings(attempt_timeout_s=0.5, inquiry_timeout_s=0.5)
LADDER_S = 3.0
PATIENCE_S = 20.0
"""Twice what the ladder and all leases come to: what has not ended by then is stuck."""


def quick(public_url: str) -> EngineSettings:
    """The shipped engine, some twenty times less patient."""
    return EngineSettings(
        public_url=public_url,
        request_deadline_s=1.0,
        attempt_timeout_s=0.5,
        inquiry_timeout_s=0.5,
        lease_s=2.0,
        heartbeat_s=0.5,
        settle_s=0.5,
        queue_retry_s=0.1,
        ladder=Ladder(steps=(0.05, 0.1, 0.2), tail=((0.25, LADDER_S),)),
        poll_s=0.1,
    )


@dataclass(slots=True)
class Process:
    """What one process of the service holds, apart from its HTTP."""

    engine: Engine
    pool: Pool
    transport: Transport
    working: asyncio.Task[None]

    async def kill(self) -> None:
        """End it between two steps, and let it tidy nothing up: its leases stay."""
        self.working.cancel()
        self.pool.terminate()
        await self.engine.holding.close(grace_s=0)
        await asyncio.gather(self.working, return_exceptions=True)
        await self.transport.aclose()

    async def stop(self) -> None:
        """End it in good order."""
        self.engine.worker.stop()
        await self.working
        await self.engine.close()
        await self.transport.aclose()
        await self.pool.close()


@dataclass(slots=True)
class World:
    """Live: built on a database of its own, run once, then judged."""

    script: Script
    database_url: str
    sandbox: Sandbox
    public_url: str = ""
    told: list[tuple[str, Reply]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)
    _settings: dict[str, str] = field(default_factory=dict)

    async def run(self) -> None:
        """Play the script to its end, then wait until nothing is under way."""
        self._open_accounts()
        self.processes = [await self._process(), await self._process()]
        async with asyncio.TaskGroup() as everything:
            everything.create_task(self._trouble())
            for number, asked in enumerate(self.script.payments):
                everything.create_task(self._buyer(f"order-{number}", asked))
            for number, asked in enumerate(self.script.payouts):
                everything.create_task(self._payer_out(f"payout-{number}", asked))
        await self._rest()
        # A machine that is too busy may have let a short ladder run out: whoever asks once more has to see.
        for row in await self.pool.fetch(_REVIEWED):
            await self.ledger.hint_reference(row["rail"], str(row["reference"]))
        await self._rest()

    async def close(self) -> None:
        """Stop what still runs."""
        for process in self.processes:
            await process.stop()

    @property
    def pool(self) -> Pool:
        """For those who look afterwards."""
        return self.processes[0].pool

    @property
    def ledger(self) -> Any:
        """For those who look afterwards."""
        return self.processes[0].engine.ledger

    async def take_callback(self, request: web.BaseRequest) -> web.Response:
        """A callback of a rail, as the HTTP API hands it on."""
        rail, _, token = request.path.removeprefix("/api/v1/callbacks/").partition("/")
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = await request.read()
        with contextlib.suppress(PaymentError):
            await self.processes[-1].engine.take_callback(rail, token, headers, body)
        return web.Response()

    def _open_accounts(self) -> None:
        for rail, url in self.sandbox.rail_urls.items():
            callbacks = f"{self.public_url}/api/v1/callbacks/{rail}"
            account = ACCOUNTS[rail](Place(url=url, user=USER, key=KEY, callbacks=callbacks))
            for resource, body in account.control.items():
                played = self.sandbox.rails[rail]
                outcome = played.wire.control(resource, "PUT", body)
                assert outcome is not None, (rail, resource)
                played.learn(outcome.facts)
            self._settings |= account.settings
        self._settings |= {
            "hubtel_prompt_window_s": "0.9",
            "mtn_momo_status_per_s": "1000",
            "pawapay_status_per_s": "1000",
        }

    async def _process(self) -> Process:
        clock, random = SystemClock(), Random(self.script.seed)
        pool = await connect(self.database_url, min_size=1, max_size=4)
        transport = Transport()
        built = build_rails(msgspec.convert(self._settings, Settings, strict=False), transport, clock)
        registry = Registry(PROFILES, clock=clock.monotonic, random=random.random)
        engine = build_engine(
            ledger=PostgresLedger(Database(pool)),
            rails={name: built[name] for name in self.script.order},
            dispatch=PolicyDispatch(registry.breaker, registry.profile, clock, CALLS, random.random),
            clock=clock,
            identities=SystemIdentities(),
            doorbell=LocalDoorbell(),
            settings=quick(self.public_url),
        )
        engine.start()
        return Process(engine, pool, transport, asyncio.create_task(engine.worker.run()))

    async def _trouble(self) -> None:
        for rail, steps in self.script.steps.items():
            planned = msgspec.convert(list(steps), tuple[Step, ...])
            self.sandbox.rails[rail].set_script(RailScript(planned))
        moments: list[tuple[float, Callable[[], Coroutine[Any, Any, None]]]] = [
            (spell.at_s, lambda spell=spell: self._set(spell.rail, msgspec.convert(spell.faults, Faults)))
            for spell in self.script.spells
        ]
        if self.script.kills_at_s is not None:
            moments.append((self.script.kills_at_s, self._kill))
        begins = asyncio.get_running_loop().time()
        for at_s, happen in sorted(moments, key=lambda moment: moment[0]):
            await asyncio.sleep(max(0.0, begins + at_s - asyncio.get_running_loop().time()))
            await happen()
        await asyncio.sleep(max(0.0, begins + TROUBLE_S - asyncio.get_running_loop().time()))
        for rail, played in self.sandbox.rails.items():
            played.set_script(RailScript())
            await self._set(rail, Faults(approve_after_ms=20))

    async def _set(self, rail: str, faults: Faults) -> None:
        played = self.sandbox.rails[rail]
        played.set_faults(faults)
        await self.sandbox._obey_down(played)

    async def _kill(self) -> None:
        dead, self.processes[0] = self.processes[0], await self._process()
        await dead.kill()

    async def _buyer(self, reference: str, asked: Asked) -> None:
        await asyncio.sleep(asked.at_s)
        request = PaymentRequest(
            tenant=TENANT,
            amount=asked.amount,
            currency="GHS",
            payer=Payer(Msisdn.parse(asked.number)),
            reference=reference,
            expires_in_s=asked.expires_in_s,
            rail=asked.pinned,
        )
        claim = Claim("m_drill:test:POST /payments", reference, b"f" * 32)
        payment_id = await self._at_once(
            reference, asked.repeats, lambda engine: engine.initiate_payment(request, claim)
        )
        payment = await self._ended(payment_id, asked)
        if payment != "succeeded":
            return
        for number, amount in enumerate(asked.refunds):
            back = RefundRequest(tenant=TENANT, payment_id=payment_id, amount=amount)
            name = f"{reference}-refund-{number}"
            key = Claim("m_drill:test:POST /refunds", name, b"r" * 32)
            await self._insist(name, lambda engine, b=back, k=key: engine.refund_payment(b, k))

    async def _payer_out(self, reference: str, asked: Asked) -> None:
        await asyncio.sleep(asked.at_s)
        request = PayoutRequest(
            tenant=TENANT,
            amount=asked.amount,
            currency="GHS",
            payee=Payee(Msisdn.parse(asked.number)),
            reference=reference,
            expires_in_s=60,
            rail=asked.pinned,
        )
        claim = Claim("m_drill:test:POST /payouts", reference, b"o" * 32)
        await self._at_once(reference, asked.repeats, lambda engine: engine.pay_out(request, claim))

    async def _at_once(self, name: str, repeats: int, call: Callable[[Engine], Any]) -> str:
        replies = await asyncio.gather(*(self._insist(name, call, turn) for turn in range(repeats)))
        ids = {msgspec.json.decode(reply.body)["id"] for reply in replies if reply is not None}
        if len(ids) != 1:
            self.errors.append(f"duplicate: {name} is {len(ids)} orders")
        return min(ids)

    async def _insist(self, name: str, call: Callable[[Engine], Any], turn: int = 0) -> Reply | None:
        """Ask, with the same key, until there is an answer."""
        for again in range(200):
            engine = self.processes[(turn + again) % 2].engine
            try:
                async with asyncio.timeout(3):
                    reply = await call(engine)
            except (TimeoutError, asyncio.CancelledError):
                current = asyncio.current_task()
                assert current is not None
                if current.cancelling():
                    raise
            except PaymentError as error:
                if not hasattr(error, "retry_after_s"):
                    return None
            else:
                self.told.append((name, reply))
                return reply
            await asyncio.sleep(0.1)
        self.errors.append(f"stuck: {name} was never answered")
        return None

    async def _ended(self, payment_id: str, asked: Asked) -> str:
        """Wait for the end, and give the password that a rail may ask for."""
        end = asyncio.get_running_loop().time() + PATIENCE_S
        while asyncio.get_running_loop().time() < end:
            with contextlib.suppress(PaymentError):
                payment = (await self._case(payment_id)).payment
                if payment.status.value in FINAL or payment.status_detail == "under_review":
                    return payment.status.value
                if payment.status.value == "requires_action" and asked.gives_otp:
                    await self.processes[-1].engine.submit_otp(TENANT, payment_id, OTP)
            await asyncio.sleep(0.1)
        return "stuck"

    async def _case(self, payment_id: str) -> Any:
        return await self.processes[-1].engine.ledger.payment(payment_id)

    async def _rest(self) -> None:
        """Wait until no order is due any more and no rail has anything to say."""
        end = asyncio.get_running_loop().time() + PATIENCE_S
        while asyncio.get_running_loop().time() < end:
            if not await self.pool.fetchval(_UNDER_WAY) and not self._rails_busy():
                return
            await asyncio.sleep(0.1)

    def _rails_busy(self) -> bool:
        """True while a rail has something to do soon; a prompt that nobody answers may stay."""
        soon = asyncio.get_running_loop().time() + PATIENCE_S
        return any(
            played._courier._running or any(timer.when() < soon for timer in played._timers.values())
            for played in self.sandbox.rails.values()
        )


_UNDER_WAY = " UNION ALL ".join(
    f"SELECT 1 FROM {table} WHERE due_at IS NOT NULL" for table in ("payments", "refunds", "payouts")
)
_REVIEWED = """
    SELECT rail, reference FROM attempts JOIN (
        SELECT id, status_detail FROM payments UNION ALL
        SELECT id, status_detail FROM refunds UNION ALL
        SELECT id, status_detail FROM payouts
    ) AS orders ON orders.id = attempts.order_id
    WHERE status_detail = 'under_review' AND state IN ('acknowledged', 'unknown')
"""


@contextlib.asynccontextmanager
async def world_of(script: Script, database_url: str, folder: Path) -> AsyncGenerator[World]:
    """A world, ready to run; afterwards nothing of it is left."""
    # A forged callback names what is true nowhere; late ones come soon enough for a short run.
    timings = Timings(delayed_s=0.5, late_callback_s=0.3, early_callback_s=0.3, credit_s=0.05)
    async with run_sandbox(data_dir=folder, rng=Random(script.seed), timings=timings) as sandbox:
        world = World(script, database_url, sandbox)
        server = web.Server(world.take_callback, access_log=None)
        loop = asyncio.get_running_loop()
        site = await loop.create_server(server, "127.0.0.1", 0, family=socket.AF_INET)
        world.public_url = f"http://localhost:{site.sockets[0].getsockname()[1]}"
        try:
            yield world
        finally:
            site.close()
            await server.shutdown(timeout=0.1)
            await world.close()
