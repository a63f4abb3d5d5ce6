"""The order store's contract tests on PostgreSQL."""

from ledger_contract import LedgerContract


class TestPostgresLedger(LedgerContract):
    """Every promise of the contract."""
