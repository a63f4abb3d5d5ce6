"""The report of a drill as one JSON document, and the conditions under which it ran."""

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from synccash.drill.report import guarantees, remarks, sections, verdict, word_of
from synccash.drill.run import RATE, DrillOptions, DrillResult
from synccash.drill.timeline import summary_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """When and on what a drill ran."""

    at: datetime
    version: str
    system: str
    processors: int
    memory_gib: float | None
    python: str

    @property
    def machine(self) -> str:
        """The machine in one line, without its name."""
        memory = f", {self.memory_gib:.0f} GiB" if self.memory_gib is not None else ""
        return f"{self.processors} processors{memory}, {self.system}, Python {self.python}"


def present_conditions() -> Conditions:
    """Return the time, the version of the service, and the machine."""
    return Conditions(
        at=datetime.now(UTC),
        version=_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        processors=os.cpu_count() or 1,
        memory_gib=_memory_gib(),
        python=platform.python_version(),
    )


def drill_document(
    conditions: Conditions, options: DrillOptions, result: DrillResult, without: DrillResult | None = None
) -> dict[str, Any]:
    """Return the whole report. `without`: the same drill without policies."""
    return {
        "at": conditions.at.isoformat(timespec="seconds"),
        "version": conditions.version,
        "machine": conditions.machine,
        "seed": options.seed,
        "payments": options.payments,
        "payments_per_s": RATE,
        "faults": list(options.kinds),
        **_run_document(options, result),
        "without_policies": None if without is None else _run_document(options, without),
    }


def _run_document(options: DrillOptions, result: DrillResult) -> dict[str, Any]:
    timeline = result.timeline
    return {
        "verdict": word_of(result).lower(),
        "text": verdict(options, result),
        "valid": result.is_valid,
        "remarks": remarks(result),
        "broken": {name: list(ids) for name, ids in guarantees(result.findings)},
        "explanations": dict(result.findings.explanations),
        "numbers": _numbers(options, result),
        "summary": asdict(summary_of(timeline)),
        "happened": [{"at_s": round(at, 3), "what": what} for at, what in result.happened],
        "faults_by_target": [_rounded(asdict(one)) for one in timeline.faults],
        "breakers": [_rounded(asdict(one)) for one in timeline.breakers],
        "requests": [_rounded(asdict(one)) for one in timeline.requests],
        "orders": [_rounded(asdict(one)) for one in timeline.orders],
        "seconds": round(timeline.seconds, 3),
    }


def _numbers(options: DrillOptions, result: DrillResult) -> dict[str, dict[str, float]]:
    return {title: {name: float(value) for name, value in rows} for title, rows in sections(options, result)}


def _rounded(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in facts.items()}


def _version() -> str:
    try:
        return version("synccash")
    except PackageNotFoundError:
        return "unknown"


def _memory_gib() -> float | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        total = next(line for line in lines if line.startswith("MemTotal:"))
        return int(total.split()[1]) / (1 << 20)
    except (OSError, StopIteration, ValueError, IndexError):
        return None
