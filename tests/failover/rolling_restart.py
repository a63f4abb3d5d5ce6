"""A rolling restart of two API and two worker processes behind HAProxy: no request fails, no payment is lost.

Run it with `make test-rolling`, which needs the program haproxy; `make test` leaves it out.
"""

import asyncio
import contextlib
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Generator
from pathlib import Path

from failover.fleet import Fleet, Merchant, final_payment, fleet, wallet
from servers_fixture import service_url
from service.installation import call, wait_until
from synccash.local.free_ports import free_run_of_ports

RATE = 20.0
APIS, WORKERS = ("api-1", "api-2"), ("worker-1", "worker-2")
CONFIGURATION = """
global
    maxconn 2000
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    timeout check 2s
frontend merchants
    bind 127.0.0.1:{port}
    default_backend api
backend api
    option httpchk GET /health/ready
    default-server check inter 200ms fall 3 rise 1
    server api-1 127.0.0.1:{api_1}
    server api-2 127.0.0.1:{api_2}
"""


@contextlib.contextmanager
def haproxy(folder: Path, port: int, running: Fleet) -> Generator[str]:
    """Run HAProxy in front of the API processes, and return its address."""
    program = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    assert program is not None, "haproxy is missing: install it with `apt-get install haproxy`"
    file = folder / "haproxy.cfg"
    ports = {name.replace("-", "_"): running.ports[name] for name in APIS}
    file.write_text(CONFIGURATION.format(port=port, **ports), encoding="ascii")
    process = subprocess.Popen([program, "-db", "-q", "-f", str(file)])
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return call("GET", f"{url}/health/ready").status == 200
        except OSError:
            return False

    try:
        wait_until("haproxy answers", answers)
        yield f"{url}/api/v1"
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_no_request_fails_during_a_rolling_restart(database_url: str, valkey_url: str, tmp_path: Path):
    port = free_run_of_ports(1)
    own_url = asyncio.run(service_url(database_url))
    settings = {"valkey_url": valkey_url, "drain_s": "2"}
    with fleet(tmp_path, port, database_url=own_url, owner_url=database_url, **settings) as running:
        # Sends are under way whenever a process is asked to stop.
        running.control("PUT", "mtn_momo/faults", {"latency_ms": 300})
        for name in (*APIS, *WORKERS):
            running.begin(name)
        for name in (*APIS, *WORKERS):
            running.wait_ready(name)
        with haproxy(tmp_path, port, running) as url:
            merchant = Merchant(url, RATE)
            restart_all(running, merchant)
            ended = [
                final_payment(url, request.payment_id) for request in merchant.requests if request.payment_id
            ]
        debits = running.debits()
    failed = [request.status for request in merchant.requests if not request.accepted]
    failed += [status for status in merchant.read_statuses.elements() if status != 200]
    doubled = [msisdn for msisdn, count in debits.items() if count > 1]
    print(
        f"\nrolling restart of 2 API and 2 worker processes: {len(merchant.requests)} payments and "
        f"{merchant.read_statuses.total()} reads, {len(failed)} failed; {len(doubled)} payers debited twice; "
        f"{len(ended)} payments ended"
    )
    assert (failed, doubled) == ([], [])
    assert Counter(payment["status"] for payment in ended) == {"succeeded": len(merchant.requests)}
    assert set(debits) == {wallet(request.number) for request in merchant.requests}


def restart_all(running: Fleet, merchant: Merchant) -> None:
    """Restart each process, one after another, while the merchant goes on."""
    with merchant.paying():
        time.sleep(2)
        for name in (*APIS, *WORKERS):
            running.restart(name)
        time.sleep(1)
