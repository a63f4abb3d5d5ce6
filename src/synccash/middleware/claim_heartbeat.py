"""Renews the lease of an idempotency claim while the request that holds it runs."""

import asyncio
import logging
from typing import Any

from synccash.resilience.claims import ClaimStore

log = logging.getLogger("synccash.idempotency")


def start(claims: ClaimStore, scope: str, key: str, fence: int, lease_s: float) -> asyncio.Task[None]:
    """Renew a claim every third of its lease, until the task is cancelled or the claim was taken over.

    When the store fails, the renewal is tried again every tenth of the lease: the claim may still be held,
    and while the store is unreachable no other request can take it over.
    """
    return asyncio.get_running_loop().create_task(
        _renew(claims, scope, key, fence, lease_s), name="claim heartbeat"
    )


async def _renew(claims: ClaimStore, scope: str, key: str, fence: int, lease_s: float) -> None:
    pause_s = lease_s / 3
    while True:
        await asyncio.sleep(pause_s)
        try:
            held = await claims.renew(scope, key, fence, lease_s=lease_s)
        except Exception as error:
            reason = type(error).__name__
            log.warning(
                "the idempotency claim of %s was not renewed (%s); trying again",
                scope,
                reason,
                extra=_fields("claim_renewal_failed", scope=scope, fence=fence, reason=reason),
            )
            pause_s = lease_s / 10
            continue
        if not held:
            log.warning(
                "the idempotency claim of %s was taken over by another request",
                scope,
                extra=_fields("claim_lost", scope=scope, fence=fence),
            )
            return
        pause_s = lease_s / 3


def _fields(event: str, **facts: Any) -> dict[str, Any]:
    """Return the fields of a log record, in the form of `synccash.resilience.log_events`."""
    return {"resilience": {"event": event, **facts}}
