"""The rails of a drill, and which of them execute a repeated reference twice."""

from synccash.engine.system import SystemClock
from synccash.rails import registry
from synccash.rails.http.transport import Transport
from synccash.rails.sandbox_account import SandboxRail
from synccash.settings.loader import convert_settings

RAILS = tuple(registry.RAILS)
"""Every registered rail: the sandbox simulates all of them."""


def _without_deduplication() -> frozenset[tuple[str, str]]:
    """Return (rail, operation) where the connector says that its rail executes a repeated reference twice."""
    sandbox_rail = SandboxRail(
        url="http://localhost",
        user="00000000-0000-4000-8000-000000000000",
        key="0" * 32,
        callbacks="http://localhost",
    )
    settings: dict[str, str] = {}
    for rail in registry.RAILS.values():
        settings |= rail.sandbox_account(sandbox_rail).settings
    rails = registry.build_rails(convert_settings(settings), Transport(), SystemClock())
    return frozenset(
        (name, operation.value)
        for name, rail in rails.items()
        for operation, capability in rail.capabilities.operations.items()
        if not capability.dedup_by_reference
    )


WITHOUT_DEDUPLICATION = _without_deduplication()
"""(rail, operation) whose lost orders are not sent again: an operator decides about them."""
