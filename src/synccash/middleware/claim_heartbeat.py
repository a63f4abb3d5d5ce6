"""Renews the lease of an idempotency claim while the request that holds it runs."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import structlog

from synccash.resilience.claims import ClaimStore

log = structlog.get_logger("synccash.idempotency")


@asynccontextmanager
async def renewed(
    claims: ClaimStore, scope: str, key: str, fence: int, lease_s: float
) -> AsyncGenerator[None]:
    """Renew a claim every third of its lease, until the block ends or another request has taken it over.

    When the store fails, the renewal is tried again every tenth of the lease: the claim may still be held,
    and while the store is unreachable no other request can take it over.
    """
    heartbeat = asyncio.get_running_loop().create_task(
        _renew(claims, scope, key, fence, lease_s), name="claim heartbeat"
    )
    try:
        yield
    finally:
        heartbeat.cancel()


async def _renew(claims: ClaimStore, scope: str, key: str, fence: int, lease_s: float) -> None:
    pause_s = lease_s / 3
    while True:
        await asyncio.sleep(pause_s)
        try:
            held = await claims.renew(scope, key, fence, lease_s=lease_s)
        except Exception as error:
            log.warning("claim_renewal_failed", scope=scope, fence=fence, reason=type(error).__name__)
            pause_s = lease_s / 10
            continue
        if not held:
            log.warning("claim_lost", scope=scope, fence=fence)
            return
        pause_s = lease_s / 3
