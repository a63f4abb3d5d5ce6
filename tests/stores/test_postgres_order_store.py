"""The order store's contract tests on PostgreSQL."""

from order_store_contract import OrderStoreContract


class TestPostgresOrderStore(OrderStoreContract):
    """Every promise of the contract."""
