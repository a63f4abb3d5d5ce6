pytest_plugins = ["servers_fixture"]
