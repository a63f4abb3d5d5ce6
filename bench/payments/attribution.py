"""Which parts of the code the CPU of a payment goes to, in the service and in its floor."""

import os
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import uvloop

from bench import processes
from bench.payments.contenders import CONTENDERS, FLOOR, SERVICE
from bench.payments.flame_graphs import py_spy
from bench.payments.load import CREATED, Load, payment_requests, run_load
from bench.report import Report

_WARM_UP_S = 3.0
_SAMPLES_PER_S = "250"
_PROFILED = {SERVICE: ("api", "worker"), FLOOR: ("api",)}
_FRAME = re.compile(r".* \(([^:)]*)(?::\d+)?\)")
_PARTS: Mapping[str, tuple[str, ...]] = {
    "event loop: uvloop, tasks, time-outs, locks": ("asyncio/", "contextlib", "_weakrefset", "threading"),
    "PostgreSQL's driver and pool: asyncpg": ("asyncpg/",),
    "HTTP server: uvicorn, its limits": (
        "uvicorn/",
        "synccash/processes/http_server",
        "synccash/processes/join",
    ),
    "HTTP client": ("synccash/rails/http/", "aiohttp/", "yarl/", "multidict/"),
    "Valkey": ("synccash/stores/valkey/", "redis/"),
    "order store: rows and statements as JSON": ("synccash/stores/",),
    "encryption and keyed hashes": ("synccash/stores/encryption", "hmac", "cryptography/"),
    "engine": ("synccash/engine/",),
    "payments, routing and risk; dataclasses": ("synccash/payments/", "dataclasses", "<string>", "enum"),
    "rails: connectors, pacing": ("synccash/rails/",),
    "fraud service": ("synccash/fraud/",),
    "toolkit: policies, breakers, limits": ("synccash/resilience/",),
    "middleware, guards and routes": (
        "synccash/middleware/",
        "synccash/processes/",
        "synccash/api/",
        "litestar/",
    ),
    "logs": ("structlog/", "synccash/observability/", "logging"),
    "JSON": ("json/", "msgspec", "base64"),
}
"""A frame belongs to the part that names the longest beginning of its file's path."""
_OTHER = "other"


def part_of(path: str) -> str:
    """Return the part that a file belongs to."""
    fits = [
        (len(start), name) for name, starts in _PARTS.items() for start in starts if path.startswith(start)
    ]
    return max(fits)[1] if fits else _OTHER


def shares(stacks: Iterable[str]) -> dict[str, float]:
    """Return each part's share of the samples; a line is a stack and its count, as `py-spy --format raw` has.

    A sample counts for the frame at its top: a call into C counts for its caller.
    """
    counted: Counter[str] = Counter()
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        found = _FRAME.fullmatch(stack.rpartition(";")[2])
        counted[part_of(found[1] if found else "")] += int(count)
    total = sum(counted.values())
    return {part: count / total for part, count in counted.items()} if total else {}


def attribute(report: Report, callers: int, seconds: float) -> None:
    """Print the CPU of a payment by part under a closed load, of the service and of the floor.

    CPU is counted without py-spy, which slows what it samples; then py-spy gives the shares of the time in
    which a thread holds the interpreter's lock. So what the kernel does while nobody holds it, such as waking
    a process, is divided among all parts. Raises RuntimeError when py-spy is missing or fails.
    """
    found = {contender: _measure(contender, callers, seconds) for contender in (SERVICE, FLOOR)}
    (api, worker), (floor,) = found[SERVICE], found[FLOOR]
    parts = sorted({*api, *worker, *floor}, key=lambda part: -(_at(api, part) + _at(worker, part)))
    rows = [
        [
            part,
            _at(api, part),
            _at(worker, part),
            _at(floor, part),
            _at(api, part) + _at(worker, part) - _at(floor, part),
        ]
        for part in parts
    ]
    sums = ["all", *(sum(float(row[column]) for row in rows) for column in range(1, 5))]
    head = ["", "API", "worker", "floor", "above the floor"]
    report.table(f"CPU of a payment by part, us; closed load of {callers} callers", head, [*rows, sums])
    for row in rows:
        report.add(f"part.{row[0]}", float(row[1]) + float(row[2]), "us", floor=float(row[3]) or None)


def _at(part_us: Mapping[str, float], part: str) -> float:
    return part_us.get(part, 0.0)


def _measure(contender: str, callers: int, seconds: float) -> list[dict[str, float]]:
    """Return the microseconds of each part, for each profiled process."""
    load, roles, root = Load(callers=callers), _PROFILED[contender], os.getpid()
    with CONTENDERS[contender]() as target, tempfile.TemporaryDirectory() as folder:
        requests = payment_requests(target.key)
        uvloop.run(run_load(load, target.port, requests, _WARM_UP_S))
        before = processes.cpu_s(root)
        answers = uvloop.run(run_load(load, target.port, requests, seconds))
        made, after = answers.statuses[CREATED], processes.cpu_s(root)
        pids = {role: pid for role, pid in processes.roles(root) if role in roles}
        recorders = [
            subprocess.Popen(
                [
                    *(py_spy(), "record", "--pid", str(pids[role]), "--duration", f"{seconds:.0f}"),
                    *("--gil", "--rate", _SAMPLES_PER_S, "--format", "raw", "--output", f"{folder}/{role}"),
                ],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for role in roles
        ]
        uvloop.run(run_load(load, target.port, requests, seconds))
        for recorder in recorders:
            said, _ = recorder.communicate()
            if recorder.returncode:
                raise RuntimeError(f"py-spy could not sample the {contender}:\n{said}")
        return [
            {
                part: share * (after[role] - before[role]) / made * 1e6
                for part, share in shares(Path(folder, role).read_text().splitlines()).items()
            }
            for role in roles
        ]
