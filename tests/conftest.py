pytest_plugins = ["servers_fixture", "mortal_valkey"]
