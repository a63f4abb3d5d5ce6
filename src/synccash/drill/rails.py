"""The rails of a drill, and which of them execute a repeated reference twice."""

import msgspec

from synccash.engine.system import SystemClock
from synccash.local.sandbox_accounts import ACCOUNTS, SandboxRail
from synccash.rails.registry import build_rails
from synccash.rails.transport import Transport
from synccash.sandbox.registry import WIRES
from synccash.settings.loader import Settings

RAILS = tuple(WIRES)
"""Every rail that the sandbox simulates, in the order of its ports."""


def _without_deduplication() -> frozenset[tuple[str, str]]:
    """Return (rail, operation) where the connector says that its rail executes a repeated reference twice."""
    sandbox_rail = SandboxRail(
        url="http://localhost",
        user="00000000-0000-4000-8000-000000000000",
        key="0" * 32,
        callbacks="http://localhost",
    )
    settings: dict[str, str] = {}
    for rail in RAILS:
        settings |= ACCOUNTS[rail](sandbox_rail).settings
    rails = build_rails(msgspec.convert(settings, Settings, strict=False), Transport(), SystemClock())
    return frozenset(
        (name, operation.value)
        for name, rail in rails.items()
        for operation, capability in rail.capabilities.operations.items()
        if not capability.dedup_by_reference
    )


WITHOUT_DEDUPLICATION = _without_deduplication()
"""(rail, operation) whose lost orders are not sent again: an operator decides about them."""
