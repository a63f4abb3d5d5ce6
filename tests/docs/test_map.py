"""The map in docs/architecture.md has every package, and its arrows are the imports of the code."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "synccash"
NODE = re.compile(r'^    (\w+)\["([^"]+)"\]$', re.MULTILINE)
ARROW = re.compile(r"^    (\w+) --> (\w+)$", re.MULTILINE)
IMPORT = re.compile(r"^\s*(?:from|import) synccash(?:\.| import )(\w+)", re.MULTILINE)
Arrows = frozenset[tuple[str, str]]


@pytest.fixture(scope="module")
def diagram() -> str:
    return (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("```")[1]


@pytest.fixture(scope="module")
def packages(diagram: str) -> dict[str, str]:
    """The node of each package. The first line of a node's text names its packages, up to a colon."""
    return {
        name: node
        for node, text in NODE.findall(diagram)
        for name in text.split("<br/>")[0].split(":")[0].split(" · ")
    }


@pytest.fixture(scope="module")
def imports(packages: dict[str, str]) -> Arrows:
    found: set[tuple[str, str]] = set()
    for file in SOURCE.rglob("*.py"):
        owner = packages.get(file.relative_to(SOURCE).parts[0].removesuffix(".py"))
        for name in IMPORT.findall(file.read_text(encoding="utf-8")):
            if owner is not None and name in packages:
                found.add((owner, packages[name]))
    return frozenset((one, other) for one, other in found if one != other)


def reached(start: str, arrows: Arrows) -> set[str]:
    """The nodes to which arrows lead."""
    found, new = set[str](), {start}
    while new:
        new = {target for source, target in arrows if source in new} - found
        found |= new
    return found


def test_the_map_has_every_package(packages: dict[str, str]):
    folders = {
        entry.stem for entry in SOURCE.iterdir() if entry.stem[0] != "_" and entry.suffix in ("", ".py")
    }
    assert set(packages) == folders


def test_each_arrow_is_an_import_and_each_import_follows_arrows(diagram: str, imports: Arrows):
    arrows = frozenset(ARROW.findall(diagram))
    assert arrows - imports == frozenset()
    assert {(one, other) for one, other in imports if other not in reached(one, arrows)} == set()
