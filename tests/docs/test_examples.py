"""The fenced `python` blocks of the documents run as they stand; each is a program of its own.

A fragment that is only there to be read is fenced with `py`.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks():
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = page.read_text(encoding="utf-8")
        for found in BLOCK.finditer(text):
            line = text.count("\n", 0, found.start()) + 2
            yield pytest.param(page, line, found[1], id=f"{page.name}:{line}")


@pytest.mark.parametrize(("page", "line", "source"), [*blocks()])
def test_an_example_does_what_it_says(page: Path, line: int, source: str):
    # The lines of a failure are those of the page.
    program = compile("\n" * (line - 1) + source, str(page), "exec")
    exec(program, {"__name__": "__main__"})
