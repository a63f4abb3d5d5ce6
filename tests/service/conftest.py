import os
import subprocess
import sys

import pytest

from service.installation import Running

_TAIL = 15
KEYS = {"SYNCCASH_ENCRYPTION_KEYS": "1:" + "e1" * 32, "SYNCCASH_LOOKUP_KEY": "e2" * 32}


def pytest_runtest_setup(item):
    # Servers of a module's fixture go on running from test to test.
    Running.started[:] = [running for running in Running.started if running.process.poll() is None]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Print the end of the log of each process that the failed test used."""
    report = yield
    if report.failed:
        for running in Running.started:
            title = f"end of the output of synccash {' '.join(running.arguments)}"
            report.sections.append((title, running.tail(_TAIL)))
    return report


@pytest.fixture
def command(database_url):
    """Runs `synccash` with the credentials of the test's database: exit code, output, refusal."""

    def run(*arguments, environment=None, folder=None):
        done = subprocess.run(
            [sys.executable, "-m", "synccash.cli", *arguments],
            env={
                **os.environ,
                **KEYS,
                "SYNCCASH_DATABASE_URL": database_url,
                "SYNCCASH_BREAK_GLASS": "true",
                **(environment or {}),
            },
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return run
