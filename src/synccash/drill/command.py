"""The command `synccash drill`: from what was typed to an exit code."""

import asyncio
import shutil
import tempfile
from pathlib import Path

from synccash.drill.report import told, write_page
from synccash.drill.run import DrillError, DrillOptions, held
from synccash.drill.trouble import KINDS


def run(*, payments: int, seed: int, faults: str, report: Path | None, sabotage: bool = False) -> int:
    """Hold the drill and tell of it; 1 when a promise was broken. Raises DrillError."""
    kinds = tuple(kind for kind in (part.strip() for part in faults.split(",")) if kind)
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise DrillError(f"--faults {faults!r}: expected some of {', '.join(KINDS)}, separated by commas")
    if payments < 1:
        raise DrillError("--payments must be at least 1")
    options = DrillOptions(payments=payments, seed=seed, kinds=kinds, sabotage=sabotage)
    folder = Path(tempfile.mkdtemp(prefix="synccash-drill-"))
    folder.chmod(0o711)  # root's databases run as another user, who has to pass through
    drilled = asyncio.run(held(options, folder))
    if report is not None:
        write_page(report, options, drilled)
    clean = drilled.findings.clean
    if clean:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"databases, logs and books are kept in {folder}")
    print(told(options, drilled))
    return 0 if clean else 1
