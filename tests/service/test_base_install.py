import os
import subprocess
import sys
from pathlib import Path

import pytest

import synccash


def _without_packages(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with our sources and the standard library alone, as after `pip install synccash`."""
    return subprocess.run(
        [sys.executable, "-S", *arguments],
        env={**os.environ, "PYTHONPATH": str(Path(synccash.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_without_the_server_extra_the_command_prints_one_line_with_the_fix() -> None:
    ran = _without_packages("-m", "synccash.cli", "up")
    assert ran.returncode == 1
    assert ran.stderr.splitlines() == [
        "synccash: This command needs cyclopts, which is not installed. "
        "Run: pip install 'synccash[server,embedded]'"
    ]


_IMPORT_ALL = """
import importlib, pkgutil, {0}
names = [module.name for module in pkgutil.walk_packages({0}.__path__, "{0}.")]
modules = [name for name in names if not name.endswith(".pytest_plugin")]  # pytest itself imports it
for module in modules:
    importlib.import_module(module)
print(len(modules))
"""


@pytest.mark.parametrize("package", ["synccash.resilience", "synccash.middleware"])
def test_the_toolkit_and_the_middleware_need_nothing_but_the_standard_library(package: str) -> None:
    ran = _without_packages("-c", _IMPORT_ALL.format(package))
    assert (ran.returncode, ran.stderr) == (0, "")
    assert int(ran.stdout) > 5


def test_the_plain_client_needs_nothing_and_the_other_names_its_extra() -> None:
    ran = _without_packages(
        "-c", "import synccash.client; synccash.client.SyncCash('http://x', 'sk_1').close()"
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    ran = _without_packages("-c", "from synccash.client import AsyncSyncCash")
    assert ran.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: AsyncSyncCash needs aiohttp. Run: pip install 'synccash[client]' "
        "(SyncCash needs nothing)"
    )
