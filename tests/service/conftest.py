import os
import subprocess
import sys

import pytest


@pytest.fixture
def command(database_url):
    """Runs `synccash` in a shell on the test's database: exit code, output, refusal."""

    def run(*arguments, environment=None, folder=None):
        done = subprocess.run(
            [sys.executable, "-m", "synccash.cli", *arguments],
            env={**os.environ, "SYNCCASH_DATABASE_URL": database_url, **(environment or {})},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return run
