"""Runs `synccash drill`: checks the options, runs the drill, prints the report, returns the exit code."""

import asyncio
import shutil
import tempfile
from pathlib import Path

from synccash.drill.report import terminal_report, write_page
from synccash.drill.run import DrillError, DrillOptions, run_drill
from synccash.drill.trouble import KINDS

BROKEN = 1
"""Exit code: a guarantee was broken, or the drill could not run."""
INVALID = 2
"""Exit code: no guarantee was broken, but the drill proves nothing."""


def run(*, payments: int, seed: int, faults: str, report: Path | None, sabotage: bool = False) -> int:
    """Run the drill, print its report and return the exit code. Raises DrillError."""
    kinds = () if faults == "none" else tuple(filter(None, (part.strip() for part in faults.split(","))))
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or (not kinds and faults != "none"):
        raise DrillError(
            f"--faults {faults!r}: expected none, or any of {', '.join(KINDS)}, separated by commas"
        )
    if payments < 1:
        raise DrillError("--payments must be at least 1")
    options = DrillOptions(payments=payments, seed=seed, kinds=kinds, sabotage=sabotage)
    folder = Path(tempfile.mkdtemp(prefix="synccash-drill-"))
    folder.chmod(0o711)  # root's databases run as another user, which must traverse it
    result = asyncio.run(run_drill(options, folder))
    if report is not None:
        write_page(report, options, result)
    clean = result.findings.clean
    if clean or (sabotage and result.is_valid):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"The databases, logs and books of this drill are in {folder}")
    print(terminal_report(options, result))
    if not clean:
        return BROKEN
    return 0 if result.is_valid else INVALID
