"""A number proven on another network is charged there the next time, until that network refuses it."""

from engine.scripted import SUCCEEDED, TENANT, Desk
from synccash.engine.dispatch.network_memory import NetworkMemory
from synccash.engine.system import SystemClock
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.payer import Msisdn, Network, Payer
from synccash.payments.payer_networks import PayerNetworks
from synccash.payments.payout import Payee
from synccash.payments.rail import SendAnswer
from synccash.resilience.evidence import Evidence
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.payer_networks import PostgresNetworks

PORTED = Msisdn.parse("0201234567")
NO_WALLET = SendAnswer(evidence=Evidence.REFUSED_FINAL, failure=Failure(FailureCode.INVALID_PAYER))


async def shown(desk: Desk, reference: str, **wallet) -> str:
    return (await desk.pay(reference, payer=Payer(PORTED, **wallet)))["payer"]["network"]


async def paid(desk: Desk, reference: str, **wallet) -> str:
    network = await shown(desk, reference, **wallet)
    desk.first.status_at_rail = SUCCEEDED
    await desk.work()
    return network


async def test_a_proven_network_is_used_for_the_next_payment_unless_one_is_given(desk: Desk):
    assert await paid(desk, "order 1") == "telecel"
    assert await paid(desk, "order 2", network=Network.MTN) == "mtn"
    assert await shown(desk, "order 3") == "mtn"
    assert desk.first.sent[-1].network is Network.MTN
    assert await shown(desk, "order 4", network=Network.AT) == "at"
    payout = await desk.pay_out(payee=Payee(PORTED, name="Ama"))
    assert payout["payee"]["network"] == "mtn"


async def test_a_network_without_the_wallet_is_forgotten(desk: Desk):
    await paid(desk, "order 1", network=Network.MTN)
    desk.first.answers = [NO_WALLET]
    assert await shown(desk, "order 2") == "mtn"
    assert await shown(desk, "order 3") == "telecel"


async def test_a_proven_network_is_shared_by_all_processes_and_survives_a_restart(desk: Desk):
    database, clock = Database(desk.pool), SystemClock()

    def process() -> NetworkMemory:
        return NetworkMemory(PayerNetworks(clock.now, 86_400.0), PostgresNetworks(database), clock)

    one, other = process(), process()
    await one.sync()
    await other.sync()
    assert one.networks.secret == other.networks.secret
    one.networks.record_proof(TENANT, PORTED, Network.MTN)
    await one.sync()
    await other.sync()
    assert other.networks.network_of(TENANT, PORTED) is Network.MTN
    later = process()
    await later.sync()
    assert later.networks.network_of(TENANT, PORTED) is Network.MTN
    assert PORTED.digits not in str(await desk.pool.fetch("SELECT * FROM payer_networks"))
    later.networks.remove_proof(TENANT, PORTED, Network.MTN)
    await later.sync()
    assert await desk.pool.fetchval("SELECT count(*) FROM payer_networks") == 0


async def test_expired_network_proofs_are_deleted(desk: Desk):
    book = PostgresNetworks(Database(desk.pool))
    await book.write({b"a" * 16: Network.MTN, b"b" * 16: Network.AT})
    await desk.pool.execute(
        "UPDATE payer_networks SET seen_at = now() - interval '2 days' WHERE network = 'at'"
    )
    assert await book.sweep(older_than_s=86_400.0, limit=10) == 1
    assert set(await book.since(0.0, limit=10)) == {b"a" * 16}
