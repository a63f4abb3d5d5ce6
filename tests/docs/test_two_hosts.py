"""The settings and the HAProxy file of docs/how-to/two-hosts.md are valid."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from synccash.settings.loader import load_settings

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "two-hosts.md"
HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")


def block(beginning: str) -> str:
    """The fenced block that begins with these words."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    (found,) = (one for one in blocks if one.startswith(beginning))
    return found


def test_its_settings_are_settings_of_the_service(tmp_path: Path):
    keys = {"INSTALLATION_KEY": "5c" * 32, "ENCRYPTION_KEYS": "1:" + "e1" * 32, "LOOKUP_KEY": "e2" * 32}
    given = dict(line.split("=", 1) for line in block("SYNCCASH_").splitlines())
    environment = {**given, **{f"SYNCCASH_{name}": value for name, value in keys.items()}}
    settings = load_settings(environment, tmp_path / "none.toml").settings
    assert settings.database_url is not None
    assert settings.valkey_url is not None
    assert settings.database_url.reveal() == given["SYNCCASH_DATABASE_URL"]
    assert settings.valkey_url.reveal() == given["SYNCCASH_VALKEY_URL"]
    assert settings.processes == 2


@pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed, so its file was not checked")
def test_its_haproxy_file_is_valid(tmp_path: Path):
    file = tmp_path / "haproxy.cfg"
    file.write_text(block("global\n"), encoding="ascii")
    done = subprocess.run([str(HAPROXY), "-c", "-f", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
