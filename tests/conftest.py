import pytest

# Before anything imports them.
pytest.register_assert_rewrite("order_store_contract", "rails.rail_contract")
pytest_plugins = ["servers_fixture", "stoppable_valkey"]
