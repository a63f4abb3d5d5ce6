"""The settings on each page about going live make a live account of the rail, as they stand."""

import re
import subprocess
from pathlib import Path

import pytest

from synccash.engine.system import SystemClock
from synccash.payments.rail import CallbackAddress, Environment, Operation
from synccash.rails.http.transport import Transport
from synccash.rails.registry import RAILS, build_rails
from synccash.settings.loader import convert_settings

FOLDER = Path(__file__).parents[2] / "docs" / "how-to"
PAGES = {"mtn_momo": "mtn", "paystack": "paystack", "hubtel": "hubtel", "pawapay": "pawapay"}
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_rail_has_its_page():
    assert set(PAGES) == set(RAILS)
    assert {f"go-live-{name}.md" for name in PAGES.values()} == {
        page.name for page in FOLDER.glob("go-live-*.md")
    }


@pytest.mark.parametrize("rail", list(PAGES))
def test_the_settings_of_the_page_make_a_live_account(rail: str):
    commands = commands_of(FOLDER / f"go-live-{PAGES[rail]}.md")
    done = subprocess.run(
        ["bash", "-ec", f"{commands}\nenv"],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    given = dict(re.findall(r"^SYNCCASH_(\w+)=(.*)$", done.stdout, re.MULTILINE))
    settings = convert_settings({name.lower(): value for name, value in given.items()})
    connector = build_rails(settings, Transport(), SystemClock())[rail]
    assert connector.environment is Environment.LIVE
    assert set(connector.capabilities.operations) == set(Operation)
    if connector.capabilities.callback_address is CallbackAddress.PER_ACCOUNT:
        token = given[f"{rail.upper()}_CALLBACK_TOKEN"]
        assert f"https://pay.example.com/api/v1/callbacks/{rail}/{token}\n" in done.stdout


def commands_of(page: Path) -> str:
    """Return all commands of a page as a script, with values in place of what the reader fills in."""
    blocks = "".join(BLOCK.findall(page.read_text(encoding="utf-8"))).replace("…", "0" * 32)
    return re.sub(r"^\$ ", "", blocks, flags=re.MULTILINE)
