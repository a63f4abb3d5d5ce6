"""What a caller's type checker is to know. Read by checkers only, never run."""

from typing import assert_type

from synccash.client import (
    AsyncSyncCash,
    Event,
    Page,
    Payment,
    Payout,
    Refund,
    SyncCash,
    TimelineEntry,
    verify_webhook,
)


def plain(cash: SyncCash) -> None:
    payment = cash.create_payment(amount=2500, msisdn="0241234567", reference="order 1", network="mtn")
    assert_type(payment, Payment)
    assert_type(cash.wait(payment), Payment)
    refund = cash.refund_payment(payment.id)
    assert_type(cash.wait(refund), Refund)
    assert_type(cash.wait(cash.get_payout("po_1")), Payout)
    assert_type(cash.list_payments(status="processing"), Page[Payment])
    for listed in cash.payments():
        assert_type(listed, Payment)
    for entry in cash.get_timeline(payment.id):
        assert_type(entry, TimelineEntry)
    match verify_webhook(b"", {}, "whsec_").object:
        case Payment(status="succeeded") as paid:
            assert_type(paid, Payment)
        case other:
            assert_type(other, Payment | Refund | Payout | None)


async def awaited(cash: AsyncSyncCash) -> None:
    payment = await cash.create_payment(amount=2500, msisdn="0241234567", reference="order 1")
    assert_type(await cash.wait(payment), Payment)
    assert_type(await cash.wait(await cash.refund_payment(payment.id)), Refund)
    async for event in cash.events(after="evt_1"):
        assert_type(event, Event)
    for listed in await cash.list_payments():
        assert_type(listed, Payment)
