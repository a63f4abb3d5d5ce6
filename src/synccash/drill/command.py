"""Runs `synccash drill`: checks the options, runs the drill, prints the report, returns the exit code."""

import asyncio
import json
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from synccash.drill.document import Conditions, drill_document, present_conditions
from synccash.drill.page import write_page
from synccash.drill.progress import Progress
from synccash.drill.report import terminal_report, verdict
from synccash.drill.run import DrillError, DrillOptions, DrillResult, run_drill
from synccash.drill.trouble import KINDS

BROKEN = 1
"""Exit code: a guarantee was broken, or the drill could not run."""
INVALID = 2
"""Exit code: no guarantee was broken, but the drill proves nothing."""


def run(
    *,
    payments: int,
    seed: int,
    faults: str,
    report: Path | None,
    sabotage: bool = False,
    compare: bool = False,
    as_json: bool = False,
) -> int:
    """Run the drill, print its report and return the exit code. Raises DrillError.

    `compare`: run the same drill without retries and breakers too; its findings do not change the exit code.
    """
    kinds = () if faults == "none" else tuple(filter(None, (part.strip() for part in faults.split(","))))
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or (not kinds and faults != "none"):
        raise DrillError(
            f"--faults {faults!r}: expected none, or any of {', '.join(KINDS)}, separated by commas"
        )
    if payments < 1:
        raise DrillError("--payments must be at least 1")
    options = DrillOptions(payments=payments, seed=seed, kinds=kinds, sabotage=sabotage)
    conditions = present_conditions()
    result = _run_once(options)
    without = None
    if compare:
        without = _run_once(replace(options, policies=False, sabotage=False))
    if report is not None:
        write_page(report, conditions, options, result, without)
    _print(conditions, options, result, without, as_json=as_json)
    if not result.findings.clean:
        return BROKEN
    return 0 if result.is_valid else INVALID


def _run_once(options: DrillOptions) -> DrillResult:
    """Run one drill in a folder of its own, which is left where a guarantee was broken."""
    folder = Path(tempfile.mkdtemp(prefix="synccash-drill-"))
    folder.chmod(0o711)  # root's databases run as another user, which must traverse it
    progress = Progress(title="drill" if options.policies else "the same without policies")
    try:
        result = asyncio.run(run_drill(options, folder, progress))
    finally:
        progress.clear()
    if result.findings.clean or (options.sabotage and result.is_valid):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"The databases, logs and books of this drill are in {folder}", file=sys.stderr)
    return result


def _print(
    conditions: Conditions,
    options: DrillOptions,
    result: DrillResult,
    without: DrillResult | None,
    *,
    as_json: bool,
) -> None:
    if as_json:
        print(json.dumps(drill_document(conditions, options, result, without), ensure_ascii=False))
        return
    print(terminal_report(options, result))
    if without is not None:
        print(f"without policies: {verdict(options, without)}")
