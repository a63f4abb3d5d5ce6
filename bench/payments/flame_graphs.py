"""Flame graphs of the API and of the worker under a closed load, by py-spy."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import uvloop

from bench import processes
from bench.payments.contenders import CONTENDERS, SERVICE
from bench.payments.load import Load, payment_requests, run_load

_PROFILED = ("api", "worker")
_SAMPLES_PER_S = 200
_WARM_UP_S = 3.0


def py_spy() -> str:
    """Return the path of py-spy. Raises RuntimeError where it is not installed."""
    found = shutil.which(
        "py-spy", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    )
    if found is None:
        raise RuntimeError("py-spy is not installed; `make bench` installs it, or `pip install py-spy`")
    return found


def record(out: Path, callers: int, seconds: float) -> list[Path]:
    """Write `payments-api.svg` and `payments-worker.svg`; return their paths.

    They show what holds the interpreter's lock. py-spy slows what it samples, so no figures are taken. Raises
    RuntimeError when it is missing or fails.
    """
    program = py_spy()
    out.mkdir(exist_ok=True)
    with CONTENDERS[SERVICE]() as target:
        requests = payment_requests(target.key)
        uvloop.run(run_load(Load(callers=callers), target.port, requests, _WARM_UP_S))
        pids = {role: pid for role, pid in processes.roles(os.getpid()) if role in _PROFILED}
        paths = {role: out / f"payments-{role}.svg" for role in pids}
        recorders = {
            role: subprocess.Popen(
                [
                    *(program, "record", "--gil", "--pid", str(pid), "--duration", f"{seconds:.0f}"),
                    *("--rate", str(_SAMPLES_PER_S), "--output", str(paths[role])),
                ],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for role, pid in pids.items()
        }
        uvloop.run(run_load(Load(callers=callers), target.port, requests, seconds))
        for role, recorder in recorders.items():
            said, _ = recorder.communicate()
            if recorder.returncode:
                raise RuntimeError(f"py-spy could not record the {role} process:\n{said}")
            # The title is the command, with the paths of this machine.
            drawn = paths[role].read_text()
            paths[role].write_text(
                drawn.replace(program, "py-spy").replace(str(paths[role]), paths[role].name)
            )
    return list(paths.values())
