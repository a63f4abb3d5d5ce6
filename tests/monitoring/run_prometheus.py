"""Checks the alert rules and dashboards with Prometheus: `make test-prometheus`.

promtool checks the files and runs the tests of the rules. Then a Prometheus scrapes a running `synccash up`,
runs every query, and has to fire the alert of a broken rail, and to end it when the rail works again. Needs
Debian's package `prometheus`; as root it installs it. Fails where it cannot.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from monitoring.queries import OF_PROMETHEUS, RULE_TESTS, RULES, queries, selectors
from service.installation import Installation
from synccash.local.free_ports import free_run_of_ports

PROGRAMS = ("prometheus", "promtool")
INSTALL = ("apt-get", "install", "--yes", "--no-install-recommends", "prometheus")
ROLES = ("METRICS", "WORKER", "WEBHOOK")
WAIT_S = 180.0
BROKEN = "MTN_MOMO"
QUICK = {"5m": "20s", "15m": "20s", "1h": "40s", "6h": "60s"}
"""Shorter times for the live run, so that an alert fires within seconds."""


class CheckError(Exception):
    """What is wrong, in words."""


def main() -> int:
    """Run all checks; return the exit code."""
    try:
        find_programs()
        check_files()
        fire()
    except CheckError as error:
        print(f"test-prometheus: FAILED: {error}", file=sys.stderr)
        return 1
    print("test-prometheus: rules, dashboards and alerts are right")
    return 0


def find_programs() -> None:
    """Find prometheus and promtool, or install them."""
    if all(map(shutil.which, PROGRAMS)):
        return
    print("test-prometheus: prometheus and promtool are missing; installing Debian's package", flush=True)
    if shutil.which("apt-get") and os.geteuid() == 0:
        subprocess.run(["apt-get", "update", "--quiet"], check=False)
        subprocess.run(INSTALL, check=False, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        raise CheckError(
            f"{' and '.join(missing)} cannot be installed here, so nothing was checked. Run as root: "
            f"{' '.join(INSTALL)}"
        )


def promtool(*arguments: str) -> None:
    """Run promtool. Raises CheckError with its output."""
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CheckError(f"promtool {' '.join(arguments)}:\n{done.stdout}{done.stderr}")
    print(f"promtool {arguments[0]} {arguments[1]}: ok", flush=True)


def check_files() -> None:
    """Check the rules, their tests, the configuration, and the syntax of the dashboards' queries."""
    promtool("check", "rules", str(RULES))
    promtool("check", "config", str(RULES.parent / "prometheus.yml"))
    promtool("test", "rules", str(RULE_TESTS))


def fire() -> None:
    """Break a rail of a running installation, and wait for the alert and for its end."""
    with tempfile.TemporaryDirectory(prefix="synccash-prometheus-") as name:
        folder = Path(name)
        first = free_run_of_ports(len(ROLES))
        ports = list(range(first, first + len(ROLES)))
        settings = {f"SYNCCASH_{name}_PORT": str(port) for name, port in zip(ROLES, ports, strict=True)}
        up = Installation.start(folder / "up", **settings)
        try:
            with prometheus(folder, ports) as url:
                wait(lambda: firing(url) == set(), "no alert fires while all is well")
                up.ended(up.pay().body["id"])
                up.faults(failed_then_success_rate=1)
                up.ended(up.pay().body["id"])
                up.faults()
                up.faults(down=True)
                print("the rail is down", flush=True)

                def fires() -> bool:
                    up.pay()
                    return ("BreakerOpen", BROKEN) in firing(url)

                wait(fires, f"the alert BreakerOpen fires for {BROKEN}")
                run_queries(url)
                up.faults()

                def recovers() -> bool:
                    up.pay()
                    return ("BreakerOpen", BROKEN) not in firing(url)

                wait(recovers, "the alert ends when the rail works again")
        finally:
            up.stop()


@contextmanager
def prometheus(folder: Path, ports: list[int]) -> Iterator[str]:
    """Run a Prometheus that scrapes these ports each second; yield its URL."""
    (folder / "rules.yml").write_text(quick_rules(), encoding="utf-8")
    targets = [f"127.0.0.1:{port}" for port in ports]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [{"job_name": "synccash", "static_configs": [{"targets": targets}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    address = f"127.0.0.1:{free_run_of_ports(1)}"
    arguments = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--web.listen-address={address}",
    ]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(
            [*arguments, f"--storage.tsdb.path={folder / 'tsdb'}"], stdout=log, stderr=log
        )
        try:
            url = f"http://{address}"
            wait(lambda: is_scraping(url, len(ports)), "Prometheus scrapes all processes")
            yield url
        finally:
            process.terminate()
            process.wait(30)


def quick_rules() -> str:
    """Return the rules with `for` of a second and shorter ranges."""
    groups: Any = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    for group in groups["groups"]:
        for rule in group["rules"]:
            for range_, quick in QUICK.items():
                rule["expr"] = rule["expr"].replace(f"[{range_}]", f"[{quick}]")
            if "for" in rule:
                rule["for"] = "1s"
    return yaml.safe_dump(groups)


def run_queries(url: str) -> None:
    """Run every query, and find every series that it reads. Raises CheckError."""
    wrong: list[str] = []
    count = 0
    for where, query in queries():
        count += 1
        try:
            get(url, "query", query=query)
        except OSError as error:
            wrong.append(f"{where}: {error}")
            continue
        for one in selectors(query):
            labels = ",".join(f'{name}{how}"{value}"' for name, how, value in one.matchers)
            if one.name in OF_PROMETHEUS:
                continue
            if not get(url, "series", **{"match[]": f"{one.name}{{{labels}}}"}):
                wrong.append(f"{where}: no series {one.name}{{{labels}}}")
    if wrong:
        raise CheckError("\n".join(wrong))
    print(f"{count} queries ran, and each found its series", flush=True)


def firing(url: str) -> set[tuple[str, str]]:
    """Return the alerts that fire, with the service of each."""
    return {
        (alert["labels"]["alertname"], alert["labels"].get("service", ""))
        for alert in get(url, "alerts")["alerts"]
        if alert["state"] == "firing"
    }


def is_scraping(url: str, count: int) -> bool:
    """True when all targets are up."""
    return len(get(url, "query", query="up == 1")["result"]) == count


def get(url: str, path: str, **query: str) -> Any:
    """Ask Prometheus."""
    asked = f"{url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(asked, timeout=10) as reply:
        return json.load(reply)["data"]


def wait(holds: Callable[[], bool], what: str) -> None:
    """Wait until a condition of another process holds. Raises CheckError."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        try:
            if holds():
                print(f"ok: {what}", flush=True)
                return
        except OSError:
            pass  # it starts
        time.sleep(0.5)
    raise CheckError(f"not within {WAIT_S:.0f} s: {what}")


if __name__ == "__main__":
    sys.exit(main())
