import pytest

# Before anything imports them.
pytest.register_assert_rewrite("ledger_contract", "rails.rail_contract")
pytest_plugins = ["servers_fixture", "mortal_valkey"]
