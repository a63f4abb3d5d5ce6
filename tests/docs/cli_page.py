"""Writes docs/cli.md from the command line itself: `python tests/docs/cli_page.py`."""

import re
import sys
from pathlib import Path
from unittest.mock import patch

from synccash.cli import commands
from synccash.commands.examples import EXAMPLES

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
HEAD = """\
# Commands
Generated from the command line by `python tests/docs/cli_page.py`; a test compares. `synccash COMMAND
--help` says the same, and `synccash completion bash` prints the completion for a shell.

**Output.** On a terminal tables fit its width and amounts are written `GHS 25.00`; in a pipe they are plain
text that does not wrap. `--json` prints one JSON document: lists have `data`, and an error is `{"error":
{"message": "…"}}` with exit code 1. Amounts in JSON are pesewas. `audit export` and `listen --json` print a
JSON document a line.

**Exit codes.** 0: done. 1: refused or failed; stderr says why. 2: it works, and the answer is bad news
(`health`, `routes`, `drill`). 130: Ctrl-C. 141: the reader of a pipe has ended.

**Who acts.** [Operating](operating.md) and [Operators](operators.md) say which commands call the API, as
whom, and which use database credentials.
"""
_HEADING = re.compile(r"^(##+ synccash .+)$", re.MULTILINE)


def page() -> str:
    """Return the page."""
    # Under `python -m pytest` cyclopts takes the program's name from there.
    with patch.object(sys, "argv", ["synccash"]):
        found = _HEADING.split(commands().generate_docs(output_format="markdown"))
    sections = (_section(head, text) for head, text in zip(found[1::2], found[2::2], strict=True))
    return "\n".join([HEAD, *sections])


def _section(head: str, text: str) -> str:
    path = head.lstrip("# ").removeprefix("synccash ")
    plain = text.replace("`--json, --no-json`", "`--json`").replace(" *[default: False]*", "")
    plain = plain.replace("(#synccash-", "(#")
    body = re.sub(r"`: *$", "`", plain.strip(), flags=re.MULTILINE)
    examples = EXAMPLES.get(path, ())
    shown = "\n\n```console\n{}\n```".format("\n".join(f"$ {one}" for one in examples)) if examples else ""
    return f"{head.replace(' synccash', '')}\n{body}{shown}\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
