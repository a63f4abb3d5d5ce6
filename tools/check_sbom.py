"""Fails unless a CycloneDX file lists just the packages and versions of a lock: check_sbom.py SBOM LOCK."""

import json
import re
import sys
from pathlib import Path


def _normalized(name: str) -> str:
    """Return the name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main(sbom: str, lock: str) -> int:
    """Print each difference; return 1 if there is one."""
    listed = {
        (_normalized(part["name"]), part["version"])
        for part in json.loads(Path(sbom).read_text())["components"]
    }
    # A line with a marker (`; …`) is for other platforms or interpreters.
    pinned = re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)( ;.*)?", Path(lock).read_text(), re.MULTILINE)
    needed = {(_normalized(name), version) for name, version, marker in pinned if not marker}
    allowed = {(_normalized(name), version) for name, version, _ in pinned}
    for name, version in sorted(needed - listed):
        print(f"{sbom} lacks {name} {version}, which {lock} pins")
    for name, version in sorted(listed - allowed):
        print(f"{sbom} lists {name} {version}, which {lock} does not pin")
    return int(bool(needed - listed or listed - allowed))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
