"""The ledger's contract, kept by PostgreSQL."""

from ledger_contract import LedgerContract


class TestPostgresLedger(LedgerContract):
    """Every promise of the contract."""
