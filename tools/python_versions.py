"""Runs the suites of the toolkit and the middleware under other Python versions.

`make test-pythons PYTHONS="python3.13 /opt/python3.14/bin/python3"` names the interpreters. Each gets an
environment in `build/pythons` with the locked test tools, which pip downloads once, and the copies of both
packages that `make test-bare` makes. An interpreter that is missing is named, and the command then fails.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

from bare_install import ROOT, RUN_SUITES, TEST_TOOLS, copy_suites, run, run_python, with_requirements

LOCK = ROOT / "requirements" / "dev.txt"
VERSION = """
import sys, sysconfig
print(*sys.version_info[:3], sysconfig.get_config_var("Py_GIL_DISABLED") or 0)
"""
HOW_TO_NAME = "Install it, or name its file: make test-pythons PYTHONS=/path/to/python"


def main(interpreters: Collection[str]) -> None:
    """Run the suites under each interpreter, and fail if one is missing or a suite fails."""
    lines = locked_lines(with_requirements(TEST_TOOLS))
    results = {one: _check(one, lines) for one in interpreters}
    for interpreter, (_, text) in results.items():
        print(f"{interpreter}: {text}")
    if not all(passed for passed, _ in results.values()):
        raise SystemExit(1)


def _check(interpreter: str, lines: str) -> tuple[bool, str]:
    """Return whether the suites pass, and what to print."""
    try:
        found = subprocess.run([interpreter, "-c", VERSION], capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError) as error:
        reason = str(getattr(error, "stderr", "") or error).strip()
        return False, f"MISSING: {reason}. {HOW_TO_NAME}"
    major, minor, patch, no_gil = map(int, found.stdout.split())
    if (major, minor) < (3, 11) or no_gil:
        return False, "REFUSED: the toolkit needs Python 3.11 or later, with the GIL"
    try:
        python = _environment(interpreter, f"{major}.{minor}.{patch}", lines)
        with tempfile.TemporaryDirectory(prefix="synccash-pythons-") as folder:
            copied = copy_suites(Path(folder))
            printed = run_python(python, *RUN_SUITES, cwd=copied, path=copied)
    except SystemExit as failed:
        return False, f"Python {major}.{minor}.{patch} FAILED: {failed}"
    return True, f"Python {major}.{minor}.{patch}: {printed.strip().splitlines()[-1]}"


def _environment(interpreter: str, version: str, lines: str) -> Path:
    """Return the interpreter of an environment with the test tools, which is created on first use."""
    folder = ROOT / "build" / "pythons" / version
    python, installed = folder / "bin" / "python", folder / "installed.txt"
    if installed.exists() and installed.read_text(encoding="utf-8") == lines:
        return python
    run([interpreter, "-m", "venv", "--clear", "--without-pip", str(folder)])
    wanted = folder / "wanted.txt"
    wanted.write_text(lines, encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    run([*pip, "--disable-pip-version-check", "--require-hashes", "--no-deps", "-r", str(wanted)])
    wanted.rename(installed)
    return python


def locked_lines(names: Collection[str]) -> str:
    """Return what the lock file has for these packages, with hashes."""
    text = LOCK.read_text(encoding="utf-8")
    entries = re.findall(r"^[A-Za-z0-9][^\\\n]*(?:\\\n[^\\\n]*)*", text, re.MULTILINE)
    return "\n".join(entry for entry in entries if _name_of(entry) in names) + "\n"


def _name_of(entry: str) -> str:
    return re.sub(r"[-_.]+", "-", entry.split("==", 1)[0]).lower()


if __name__ == "__main__":
    main(sys.argv[1:])
