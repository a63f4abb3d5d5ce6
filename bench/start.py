"""How long `synccash up` takes until it accepts a payment: on an empty folder, then warm, again and again."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import processes
from bench.payment_requests import payer_number, payment_body
from bench.report import Report
from bench.running_service import add_merchants
from synccash.servers.existing_server import running_database
from synccash.servers.process import spawn

STARTS = 7
BAR_S = 1.5
_ASK_AGAIN_S = 0.01
_GIVE_UP_S = 60.0
_STOP_S = 60.0


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds from the start of `up` until it accepts a payment, and the CPU of all its processes until
    then."""

    accepted_s: float
    cpu_s: float


def run(report: Report) -> bool:
    """Start once on an empty folder and seven times warm; return False above the bar."""
    folder = Path(tempfile.mkdtemp(prefix="synccash-bench-"))
    folder.chmod(0o711)
    try:
        started = time.perf_counter()
        with _up(folder, _free_port()) as up:
            _read_until_ready(up)
            empty_s = time.perf_counter() - started
            database_url = running_database(folder / "servers")
            assert database_url is not None
            key = add_merchants(database_url, ["start"])["start"]
        warm = [_start(folder, key, number) for number in range(STARTS)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    accepted_s = [one.accepted_s for one in warm]
    report.table(
        f"`synccash up`: an empty folder, then {STARTS} warm starts",
        ["", "median", "least", "most"],
        [
            ["ready on an empty folder, s", empty_s, "", ""],
            *(
                [label, median(values), min(values), max(values)]
                for label, values in (
                    ("warm: first payment accepted, s", accepted_s),
                    ("warm: CPU of all processes until then, s", [one.cpu_s for one in warm]),
                )
            ),
        ],
    )
    report.add("ready_on_empty_folder", empty_s, "s")
    report.add("first_payment", median(accepted_s), "s", floor=BAR_S)
    return median(accepted_s) <= BAR_S


def _start(folder: Path, key: str, number: int) -> Start:
    """Start `up`, and send a payment again and again until it is accepted: as a merchant's program would."""
    port, began = _free_port(), time.perf_counter()
    with _up(folder, port):
        while not _accepts(port, key, number):
            if time.perf_counter() - began > _GIVE_UP_S:
                raise RuntimeError(f"no payment was accepted; the logs are in {folder}")
            time.sleep(_ASK_AGAIN_S)
        accepted_s = time.perf_counter() - began
        return Start(accepted_s, sum(processes.cpu_s(os.getpid()).values()))


def _accepts(port: int, key: str, number: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_GIVE_UP_S)
    headers = {
        "Authorization": f"Bearer {key}",
        "Content-Type": "application/json",
        "Idempotency-Key": f"start-{number}",
    }
    body = {**payment_body(payer_number("024", number)), "reference": f"start-{number}"}
    try:
        connection.request("POST", "/api/v1/payments", json.dumps(body), headers)
        return connection.getresponse().status == http.HTTPStatus.CREATED
    except OSError:
        return False
    finally:
        connection.close()


@contextlib.contextmanager
def _up(folder: Path, port: int) -> Generator[subprocess.Popen[bytes]]:
    """Run `synccash up` until the block ends."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SYNCCASH_")}
    argv = ["up", "--port", str(port), "--sandbox-port", "0", "--data-dir", str(folder)]
    up = spawn(
        [sys.executable, "-u", "-m", "synccash.cli", *argv],
        env=environment,
        stdout=subprocess.PIPE,
        death_signal=signal.SIGTERM,
    )
    try:
        yield up
    finally:
        up.terminate()
        up.communicate(timeout=_STOP_S)


def _read_until_ready(up: subprocess.Popen[bytes]) -> None:
    assert up.stdout is not None
    for line in up.stdout:
        if line.startswith(b"ready"):
            return
    raise RuntimeError("synccash up ended before it was ready")


def _free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]
