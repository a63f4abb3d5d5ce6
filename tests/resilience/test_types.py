"""The toolkit's type annotations, checked with mypy --strict and basedpyright strict as users would."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import synccash.resilience

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
USES, MISUSES = HERE / "typed_uses.py", HERE / "typed_misuses.py"
TOOLKIT = Path(synccash.resilience.__file__).parent
SOURCES = TOOLKIT.parents[1]


def output(*command: str, **more) -> str:
    return subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, **more).stdout


def marked_lines() -> set[tuple[str, int]]:
    lines = MISUSES.read_text(encoding="utf-8").splitlines()
    return {(MISUSES.name, number) for number, line in enumerate(lines, 1) if line.endswith("# wrong")}


def test_mypy_strict_accepts_the_toolkit_and_its_uses_and_rejects_each_misuse(tmp_path: Path):
    seen = output(
        "mypy",
        "--strict",
        f"--cache-dir={tmp_path}",
        "--no-error-summary",
        *map(str, (TOOLKIT, USES, MISUSES)),
        cwd=SOURCES,
    )
    found = re.findall(r"^(.+\.py):(\d+): error:", seen, re.MULTILINE)
    assert {(Path(file).name, int(line)) for file, line in found} == marked_lines(), seen


def test_basedpyright_strict_accepts_the_uses_and_rejects_each_misuse(tmp_path: Path):
    settings = tmp_path / "pyrightconfig.json"
    read = [str(USES), str(MISUSES)]
    settings.write_text(
        json.dumps({"include": read, "extraPaths": [str(SOURCES)], "typeCheckingMode": "strict"})
    )
    seen = output("basedpyright", "--outputjson", "--project", str(settings))
    found = [one for one in json.loads(seen)["generalDiagnostics"] if one["severity"] == "error"]
    where = {(Path(one["file"]).name, one["range"]["start"]["line"] + 1) for one in found}
    assert where == marked_lines(), found
