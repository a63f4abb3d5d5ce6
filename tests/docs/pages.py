"""The fenced `python` blocks of the documents. A fragment to be read only is fenced with `py`."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEEDS_A_SERVICE = ROOT / "docs" / "client.md"
"""Its blocks run in tests/service/test_client.py."""


def pages() -> list[Path]:
    """All pages whose blocks run by themselves."""
    found = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    return [page for page in found if page != NEEDS_A_SERVICE]


def blocks(*of: Path) -> Iterator[object]:
    """A page, the line of a block in it, and the block: for parametrize."""
    for page in of:
        text = page.read_text(encoding="utf-8")
        for found in BLOCK.finditer(text):
            line = text.count("\n", 0, found.start()) + 2
            yield pytest.param(page, line, found[1], id=f"{page.relative_to(ROOT)}:{line}")


def run(page: Path, line: int, source: str) -> None:
    """Run a block as a program of its own. The lines of a failure are those of the page."""
    program = compile("\n" * (line - 1) + source, str(page), "exec")
    exec(program, {"__name__": "__main__"})
