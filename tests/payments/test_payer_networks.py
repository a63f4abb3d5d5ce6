"""The memory of payers whose wallet is on another network than their number's prefix shows."""

from datetime import UTC, datetime, timedelta

from synccash.payments.payer import Msisdn, Network
from synccash.payments.payer_networks import PayerNetworks, ProvenNetwork
from synccash.payments.request import Tenant

ONE, OTHER, LIVE = Tenant("mer_1", False), Tenant("mer_2", False), Tenant("mer_1", True)
TELECEL_NUMBER = Msisdn.parse("0201234567")
START = datetime(2026, 1, 1, tzinfo=UTC)
DAY_S = 86_400.0


class Memory:
    def __init__(self, days: float = 180) -> None:
        self.at = START
        self.networks = PayerNetworks(lambda: self.at, days * DAY_S, b"s" * 32)

    def pass_(self, days: float) -> None:
        self.at += timedelta(days=days)

    def recall(self, tenant: Tenant = ONE) -> Network | None:
        return self.networks.network_of(tenant, TELECEL_NUMBER)


def test_only_networks_that_the_number_does_not_show_are_remembered():
    memory = Memory()
    memory.networks.record_proof(ONE, TELECEL_NUMBER, Network.TELECEL)
    assert (memory.recall(), memory.networks.take_changes()) == (None, {})
    memory.networks.record_proof(ONE, TELECEL_NUMBER, Network.MTN)
    assert memory.recall() is Network.MTN
    assert list(memory.networks.take_changes().values()) == [Network.MTN]


def test_networks_proven_by_one_merchants_payments_are_hidden_from_others():
    memory = Memory()
    memory.networks.record_proof(ONE, TELECEL_NUMBER, Network.MTN)
    assert (memory.recall(OTHER), memory.recall(LIVE)) == (None, None)


def test_the_stored_payer_hash_hides_the_number_and_depends_on_the_installation():
    memory, elsewhere = Memory(), Memory()
    elsewhere.networks.secret = b"t" * 32
    for one in (memory, elsewhere):
        one.networks.record_proof(ONE, TELECEL_NUMBER, Network.MTN)
    (payer,), (other,) = memory.networks.take_changes(), elsewhere.networks.take_changes()
    assert len(payer) == 16
    assert payer != other
    assert TELECEL_NUMBER.digits not in repr(memory.networks)


def test_a_wallet_that_returned_to_its_network_is_remembered_again():
    memory = Memory()
    memory.networks.record_proof(ONE, TELECEL_NUMBER, Network.MTN)
    memory.networks.remove_proof(ONE, TELECEL_NUMBER, Network.AT)
    assert memory.recall() is Network.MTN
    memory.networks.remove_proof(ONE, TELECEL_NUMBER, Network.MTN)
    assert memory.recall() is None
    assert list(memory.networks.take_changes().values()) == [None]
    memory.networks.record_proof(ONE, TELECEL_NUMBER, Network.MTN)
    memory.networks.record_proof(ONE, TELECEL_NUMBER, Network.TELECEL)
    assert memory.recall() is Network.TELECEL


def test_a_remembered_network_expires_and_a_new_proof_extends_it():
    memory = Memory(days=180)
    memory.networks.record_proof(ONE, TELECEL_NUMBER, Network.MTN)
    memory.networks.take_changes()
    memory.networks.record_proof(ONE, TELECEL_NUMBER, Network.MTN)
    assert memory.networks.take_changes() == {}
    memory.pass_(100)
    memory.networks.record_proof(ONE, TELECEL_NUMBER, Network.MTN)
    assert len(memory.networks.take_changes()) == 1
    memory.pass_(100)
    assert memory.recall() is Network.MTN
    memory.pass_(81)
    assert memory.recall() is None


def test_a_network_written_by_another_process_never_replaces_a_newer_one():
    memory = Memory()
    memory.networks.record_proof(ONE, TELECEL_NUMBER, Network.MTN)
    # Another process of the installation stores the same payer under the same hash.
    elsewhere = Memory()
    elsewhere.networks.record_proof(ONE, TELECEL_NUMBER, Network.AT)
    (payer,) = elsewhere.networks.take_changes()
    memory.networks.load_stored({payer: ProvenNetwork(Network.AT, START.timestamp() + 5)})
    assert memory.recall() is Network.MTN
    memory.networks.take_changes()
    memory.networks.load_stored({payer: ProvenNetwork(Network.AT, START.timestamp() - 5)})
    assert memory.recall() is Network.MTN
    memory.networks.load_stored({payer: ProvenNetwork(Network.AT, START.timestamp() + 5)})
    assert memory.recall() is Network.AT


def test_without_a_secret_or_with_zero_days_nothing_is_remembered():
    for memory in (Memory(days=0), Memory()):
        if memory.networks.retention_s:
            memory.networks.secret = None
        memory.networks.record_proof(ONE, TELECEL_NUMBER, Network.MTN)
        assert (memory.recall(), memory.networks.take_changes()) == (None, {})
