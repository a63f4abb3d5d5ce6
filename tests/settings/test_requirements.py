"""The lock files: what runs is pinned with hashes, and nothing else is in its list."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = ("run", "build", "dev", "bench", "supply")


def _pinned(lock: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+)==", (ROOT / f"requirements/{lock}.txt").read_text(), re.MULTILINE))


def _named(requirements: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9-]", requirement)[0] for requirement in requirements}


def test_the_run_lock_holds_the_servers_dependencies_and_no_tool_of_a_developer():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras, groups = project["project"]["optional-dependencies"], project["dependency-groups"]
    run = _pinned("run")
    assert _named(extras["server"] + extras["embedded"]) <= run
    tools = _named(
        [one for name in ("build", "dev", "supply") for one in groups[name] if isinstance(one, str)]
    )
    assert tools
    assert run & tools == set()


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_a_hash_and_no_address_of_a_registry(lock: str):
    text = (ROOT / f"requirements/{lock}.txt").read_text()
    pins = re.split(r"\n(?=[a-z0-9])", text.strip())
    assert {pin.split("==")[0] for pin in pins} == _pinned(lock) != set()
    assert all("--hash=sha256:" in pin for pin in pins)
    assert "://" not in text
