"""An earlier version of the floor, which the floor of this run is compared with.

It is a program that takes `--seconds` and `--conc`, and prints a line for 16 callers and one for `--conc`:
`floor c=16: 647/s, …; CPU us a payment: service 1110, postgres 860`.
"""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_LINE = re.compile(r"^floor c=(\d+): (\d+)/s,.* service (\d+), postgres (\d+)$", re.MULTILINE)
_START_S = 120.0


@dataclass(frozen=True, slots=True)
class FrozenFigures:
    """What one payment cost the earlier floor, at a number of callers."""

    callers: int
    round: int
    per_s: float
    service_us: float
    postgres_us: float


def run_frozen_floor(path: Path, round_number: int, seconds: float, callers: int) -> list[FrozenFigures]:
    """Run the program. Raises RuntimeError when it fails or prints something else."""
    argv = [sys.executable, str(path), "--seconds", str(seconds), "--conc", str(callers)]
    ended = subprocess.run(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=_START_S + 3 * seconds
    )
    lines = _LINE.findall(ended.stdout)
    if ended.returncode or not lines:
        raise RuntimeError(f"the frozen floor failed with {ended.returncode}:\n{ended.stdout[-2_000:]}")
    return [
        FrozenFigures(int(count), round_number, float(per_s), float(service_us), float(postgres_us))
        for count, per_s, service_us, postgres_us in lines
    ]
