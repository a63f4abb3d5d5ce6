"""The order store's contract tests on PostgreSQL, with plain and with encrypted rows."""

import pytest

from order_store_contract import OrderStoreContract
from stores.postgres_world import PostgresWorld


class TestPostgresOrderStore(OrderStoreContract):
    """Every promise of the contract."""


class TestEncryptedPostgresOrderStore(OrderStoreContract):
    """Every promise of the contract, where personal data is encrypted."""

    @pytest.fixture
    def world(self, encrypted_world: PostgresWorld) -> PostgresWorld:
        return encrypted_world
