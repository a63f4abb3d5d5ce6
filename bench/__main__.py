"""`python -m bench [part,part]`: run parts, all of them by default, and keep their numbers."""

import importlib
import sys
from pathlib import Path

from bench.report import Report

PARTS = (
    "toolkit",
    "sharing",
    "idempotency",
    "limiter",
    "middleware",
    "failover",
    "tenants",
    "migrations",
    "payments",
    "console",
    "start",
)
"""Each is a module of this package with `run(report)`, which returns False when its numbers are not valid."""

OUT = Path(__file__).parent / "out"


def main(arguments: list[str]) -> int:
    """Run the parts that were named; return the exit code."""
    names = [name for argument in arguments for name in argument.split(",") if name] or list(PARTS)
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        print(f"bench: no part {', '.join(unknown)}; there are: {', '.join(PARTS)}", file=sys.stderr)
        return 2
    code = 0
    for name in names:
        report = Report(name, OUT)
        if importlib.import_module(f"bench.{name}").run(report) is False:
            code = 1
        report.save()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
