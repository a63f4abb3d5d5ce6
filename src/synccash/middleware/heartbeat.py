"""Keeps a claim while the work under it goes on."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import structlog

from synccash.resilience.claims import ClaimStore

log = structlog.get_logger("synccash.idempotency")


@asynccontextmanager
async def kept(claims: ClaimStore, scope: str, key: str, fence: int, lease_s: float) -> AsyncGenerator[None]:
    """Renew a claim three times a lease until the block ends, or until another has it.

    A store that fails is asked again, ten times a lease: the claim may still be ours, and nobody can take it
    over either while the store is away.
    """
    heart = asyncio.get_running_loop().create_task(
        _beat(claims, scope, key, fence, lease_s), name="claim heartbeat"
    )
    try:
        yield
    finally:
        heart.cancel()


async def _beat(claims: ClaimStore, scope: str, key: str, fence: int, lease_s: float) -> None:
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
