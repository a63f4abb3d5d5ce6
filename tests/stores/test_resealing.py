"""Rows from before the encryption: they are found and read as before, until they are encrypted; and after a
rotation of the key, those of the former key."""

import json
from collections.abc import Sequence
from hashlib import sha256

import pytest

from encryption_samples import ENCRYPTION, KEY, LOOKUP_KEY, OTHER_KEY, ROTATED
from order_store_contract import ANSWER, commit, opened, opening, read, refund_opening, refunding, succeeded
from stores.canary import BODY, CANARY, TENANT, dump, filled, leaks, shown, world_of
from stores.postgres_world import PostgresWorld
from synccash.payments.case import (
    AlreadyClaimed,
    Opened,
    ReferenceTaken,
    ReleaseLease,
    UnreadablePayment,
)
from synccash.payments.errors import OrderUnreadableError
from synccash.settings.encryption_keys import EncryptionKeys
from synccash.stores.encryption import Encryption
from synccash.stores.postgres.operations.operators import PostgresOperators
from synccash.stores.postgres.operations.resealing import PostgresResealing
from synccash.stores.postgres.orders.reading import PostgresReading
from synccash.stores.postgres.pool import Pool


class _Where:
    status = None
    after = None
    limit = 10

    def __init__(self, reference: str | None = None, payer: str | None = None) -> None:
        self.reference, self.payer = reference, payer


async def listed(world: PostgresWorld, **where: str) -> Sequence[str]:
    reading = PostgresReading(world.order_store.database)
    found = await reading.payments(TENANT, _Where(**where))
    return [one.id if isinstance(one, UnreadablePayment) else one.order.id for one in found]


async def sealed(world: PostgresWorld) -> dict[str, tuple[int, int]]:
    encryption = world.order_store.database.encryption
    assert encryption is not None
    resealing = PostgresResealing(world.order_store.database, encryption)
    return {done.table: (done.written, done.unreadable) async for done in resealing.run()}


async def test_a_plain_database_shows_the_canary_and_an_encrypted_one_does_not(pool: Pool):
    await filled(world_of(pool, None), 1)
    assert leaks(await dump(pool)), "the test itself would find nothing"
    await sealed(world_of(pool, ENCRYPTION))
    await filled(world_of(pool, ENCRYPTION), 2)
    assert leaks(await dump(pool)) == []


async def test_plain_and_encrypted_rows_are_read_alike(pool: Pool):
    plain, encrypted = world_of(pool, None), world_of(pool, ENCRYPTION)
    await filled(plain, 1)
    before = await shown(plain, 1)
    assert await shown(encrypted, 1) == before
    done = await sealed(encrypted)
    assert {table: written > 0 for table, (written, _) in done.items()} == dict.fromkeys(
        ("payments", "refunds", "events", "timeline", "idempotency", "webhook_endpoints", "approvals"), True
    ) | {"payouts": False, "operators": False}
    assert sum(unreadable for _, unreadable in done.values()) == 0
    assert await shown(encrypted, 1) == before
    assert all(written == 0 for written, _ in (await sealed(encrypted)).values())


async def test_a_totp_secret_is_encrypted_and_stays_readable_through_a_rotation(pool: Pool):
    def operators(encryption: Encryption | None) -> PostgresOperators:
        return PostgresOperators(world_of(pool, encryption).order_store.database)

    async def stored() -> dict[str, bytes]:
        found = await pool.fetch("SELECT name, totp_secret FROM operators")
        return {row["name"]: row["totp_secret"] for row in found}

    secrets = {"ama": "JBSWY3DPEHPK3PXP", "kofi": "KRSXG5CTMVRXEZLU"}
    for name, encryption in (("ama", None), ("kofi", ENCRYPTION)):
        enrolment = sha256(name.encode()).digest()
        await pool.execute(
            "INSERT INTO operators (id, name, role, enrolment_hash, enrolment_expires_at, created_by) "
            "VALUES ($1, $1, 'admin', $2, now() + interval '1 day', 'a test')",
            name,
            enrolment,
        )
        assert await operators(encryption).enrol(name, enrolment, "a hash", secrets[name])
    assert (await stored())["ama"] == secrets["ama"].encode()
    assert secrets["kofi"].encode() not in (await stored())["kofi"]
    for encryption in (ENCRYPTION, ROTATED):
        done = await sealed(world_of(pool, encryption))
        assert done["operators"] == (1 if encryption is ENCRYPTION else 2, 0)
        assert not [
            value for value in (await stored()).values() if value.decode("latin-1") in secrets.values()
        ]
        for name, secret in secrets.items():
            found = await operators(encryption).credentials(name, "192.0.2.1")
            assert found is not None
            assert found.totp_secret == secret


@pytest.mark.parametrize("is_sealed", [False, True], ids=["before sealing", "after sealing"])
async def test_a_key_and_a_reference_from_before_are_not_used_again(pool: Pool, *, is_sealed: bool):
    await filled(world_of(pool, None), 1)
    encrypted = world_of(pool, ENCRYPTION)
    if is_sealed:
        await sealed(encrypted)
    reference, key = f"order 1 of {CANARY}", f"key-1-{CANARY}"
    again = await encrypted.order_store.open(opening(encrypted, 7, reference=reference, key=key))
    assert isinstance(again, AlreadyClaimed)
    assert again.order_id == "pay_1"
    assert again.answer is not None
    assert again.answer.body == BODY
    taken = await encrypted.order_store.open(opening(encrypted, 8, reference=reference, key="another"))
    assert taken == ReferenceTaken("pay_1")
    assert isinstance(await encrypted.order_store.open(opening(encrypted, 9, reference="new")), Opened)
    assert await encrypted.value("SELECT count(*) FROM payments") == 3


async def test_a_refunds_identity_from_before_is_not_used_again(pool: Pool):
    plain, encrypted = world_of(pool, None), world_of(pool, ENCRYPTION)
    case = await succeeded(plain)
    await refunding(plain, case, 1, 10, identity="key:k")
    again = refund_opening(case, 2, 10, key="other", identity="key:k")
    assert await encrypted.order_store.open(again) == ReferenceTaken("re_1")


async def test_lists_find_plain_and_encrypted_rows_by_reference_and_payer(pool: Pool):
    await filled(world_of(pool, None), 1)
    encrypted = world_of(pool, ENCRYPTION)
    await filled(encrypted, 2)
    assert await listed(encrypted, payer=CANARY) == ["pay_2", "pay_1"]
    assert await listed(encrypted, reference=f"order 1 of {CANARY}") == ["pay_1"]
    assert await listed(encrypted, reference=f"order 2 of {CANARY}", payer=CANARY) == ["pay_2"]
    assert await listed(encrypted, reference="order 2") == []
    await sealed(encrypted)
    assert await listed(encrypted, payer=CANARY) == ["pay_2", "pay_1"]
    assert await listed(encrypted, reference=f"order 1 of {CANARY}") == ["pay_1"]


async def test_after_a_rotation_the_former_key_is_needed_until_all_rows_are_encrypted_again(pool: Pool):
    await filled(world_of(pool, ENCRYPTION), 1)
    before = await shown(world_of(pool, ENCRYPTION), 1)
    rotated = world_of(pool, ROTATED)
    assert await shown(rotated, 1) == before
    only_new = world_of(pool, Encryption(EncryptionKeys(2, {2: OTHER_KEY}), LOOKUP_KEY))
    with pytest.raises(OrderUnreadableError):
        await only_new.order_store.payment("pay_1")
    stale = await PostgresResealing(rotated.order_store.database, ROTATED).stale()
    assert stale["payments"] == 2
    await sealed(rotated)
    assert sum((await PostgresResealing(rotated.order_store.database, ROTATED).stale()).values()) == 0
    assert await shown(only_new, 1) == before
    assert await listed(only_new, payer=CANARY) == ["pay_1"]


async def test_a_row_that_cannot_be_decrypted_is_reported_and_left(pool: Pool):
    world = world_of(pool, ENCRYPTION)
    await filled(world, 1)
    await filled(world, 2)
    await pool.execute(
        "UPDATE payments SET sealed = (SELECT sealed FROM payments WHERE id = 'pay_2') WHERE id = 'pay_1'"
    )
    with pytest.raises(OrderUnreadableError):
        await world.order_store.payment("pay_1")
    done = await sealed(world_of(pool, ROTATED))
    assert done["payments"] == (3, 1)


async def test_a_commit_between_reading_and_writing_a_row_is_kept(pool: Pool):
    plain, encrypted = world_of(pool, None), world_of(pool, ENCRYPTION)
    case = await opened(plain)
    await sealed(encrypted)
    answered = commit(case, answer=ANSWER)
    assert await encrypted.order_store.record(answered), "its order was read before the row was encrypted"
    found = await read(encrypted, case)
    assert found.order.version == case.order.version + 1
    assert found.order.payer == case.order.payer


async def test_a_process_without_keys_reads_no_encrypted_order_and_leases_none(pool: Pool):
    """It sets them aside, as a process of an earlier release does, and a process with the keys goes on."""
    encrypted, without = world_of(pool, ENCRYPTION), world_of(pool, None)
    case = await opened(encrypted)
    assert await encrypted.order_store.record(commit(case, lease=ReleaseLease(0.0)))
    assert await without.order_store.take_due(limit=10, lease_s=10.0) == []
    assert "encryption_keys" in await encrypted.value("SELECT error FROM unreadable_orders")
    await encrypted.skip(700)
    [taken] = await encrypted.order_store.take_due(limit=10, lease_s=10.0)
    assert taken.order.id == "pay_1"


async def test_no_key_is_stored(pool: Pool):
    await filled(world_of(pool, ENCRYPTION), 1)
    text = await dump(pool)
    assert KEY.hex() not in text
    assert LOOKUP_KEY.hex() not in text
    assert json.dumps(KEY.hex()) not in text
