"""The `python` blocks of the documents run as they stand; each is a program of its own."""

from pathlib import Path

import pytest

from docs.pages import blocks, pages, run


@pytest.mark.parametrize(("page", "line", "source"), [*blocks(*pages())])
def test_an_example_does_what_it_says(page: Path, line: int, source: str):
    run(page, line, source)
