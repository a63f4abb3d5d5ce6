import os
import shutil
import tempfile

import pytest
from hypothesis import HealthCheck, settings

# Before anything imports them.
pytest.register_assert_rewrite("order_store_contract", "rails.rail_contract")
pytest_plugins = ["certificates", "servers_fixture", "stoppable_valkey"]

# On a loaded machine an example may take as long as it likes.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

MEMORY = "/dev/shm"
ENOUGH_BYTES = 4 * 2**30

# The tests kill processes, never the machine: what they store may as well be in memory, and copies of
# databases are several times as fast there.
if (
    "TMPDIR" not in os.environ
    and os.access(MEMORY, os.W_OK | os.X_OK)
    and shutil.disk_usage(MEMORY).free >= ENOUGH_BYTES
):
    os.environ["TMPDIR"] = MEMORY
    tempfile.tempdir = None
