"""The files in deploy/ name commands, settings, routes and ports that exist."""

import ipaddress
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.roles import (
    COMPOSE,
    DEPLOY,
    KUBERNETES,
    PORT_SETTINGS,
    ROLES,
    UNITS,
    Role,
    env_file,
    kubernetes_objects,
    load_all,
    unit_lines,
)
from synccash.api.route_scopes import ROUTE_SCOPES
from synccash.cli import commands
from synccash.settings.loader import FIELDS, load_settings

ROOT = DEPLOY.parent
PAGE = ROOT / "docs" / "deploying.md"
TEXTS = sorted(
    path
    for path in [*DEPLOY.rglob("*"), PAGE]
    if path.is_file() and path.parent.name != "secrets" and path.suffix != ".json"
)
VARIABLE = re.compile(r"\bSYNCCASH_([A-Z0-9_]+)")
OF_METRICS_SERVERS = frozenset({"/health/live", "/health/ready", "/metrics"})
"""The paths of processes without an API; the tests of processes ask for each."""


def parses(words: list[str]) -> bool:
    commands().parse_args(words, exit_on_error=False, print_error=False)
    return True


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.id)
def test_each_command_is_one_of_the_command_line(role: Role):
    assert parses(list(role.command))


def test_the_page_shows_commands_of_the_command_line():
    found = re.findall(r"(?:`synccash |run --rm migrate )([^`\n]+)", PAGE.read_text(encoding="utf-8"))
    assert len(found) > 4
    assert all(parses(shlex.split(words)) for words in found)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_variable_is_a_setting(path: Path):
    names = {
        name.lower().removesuffix("_file") for name in VARIABLE.findall(path.read_text(encoding="utf-8"))
    }
    assert names - set(FIELDS) == set()


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.id)
def test_each_environment_is_valid_settings(role: Role):
    load_settings(role.environment)


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.id)
def test_each_probe_asks_a_route_at_the_port_of_the_process(role: Role):
    assert {role.port} | set(role.ports) == {role.port}
    routes = {path for method, path in ROUTE_SCOPES if method == "GET"}
    assert set(role.probes) <= (routes if role.command[0] == "serve" else OF_METRICS_SERVERS)
    assert (role.command[0] in PORT_SETTINGS) == bool(role.probes)


def test_each_way_to_deploy_runs_every_process():
    for where in ("compose", "kubernetes", "systemd"):
        assert {role.command for role in ROLES if role.where == where} == {
            ("serve",),
            ("worker",),
            ("webhooks",),
            ("migrate",),
        }


def test_the_image_starts_the_api_without_root_from_files_that_exist():
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    entry, command = (
        re.search(rf'^{word} \["(\w+)"\]$', text, re.MULTILINE) for word in ("ENTRYPOINT", "CMD")
    )
    assert entry is not None
    assert command is not None
    assert (entry[1], parses([command[1]])) == ("synccash", True)
    assert re.findall(r"^EXPOSE (\d+)$", text, re.MULTILINE) == [str(FIELDS["port"].default)]
    assert re.findall(r"^USER (\d+):\d+$", text, re.MULTILINE) == ["10001"]
    kept = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    copied = [
        word
        for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE)
        for word in line.split()[:-1]
    ]
    assert sorted(f"!{path}" for path in copied) == sorted(line for line in kept if line[0] == "!")
    assert [path for path in copied if not (ROOT / path).exists()] == []


def test_compose_gives_each_process_the_secrets_that_its_variables_name(tmp_path: Path):
    subprocess.run(["sh", DEPLOY / "compose" / "make-secrets.sh", tmp_path], check=True, capture_output=True)
    compose = load_all(COMPOSE)[0]
    for secret in compose["secrets"].values():
        assert (tmp_path / Path(secret["file"]).name).read_text()
    for service in compose["services"].values():
        named = {
            value.removeprefix("/run/secrets/")
            for value in service.get("environment", {}).values()
            if value.startswith("/run/secrets/")
        }
        mounted = set(service.get("secrets", ()))
        assert named <= mounted <= set(compose["secrets"])
        assert all(
            Path(f"/run/secrets/{name}").name in " ".join(service["command"]) for name in mounted - named
        )


def test_secrets_that_exist_are_kept(tmp_path: Path):
    script = ["sh", DEPLOY / "compose" / "make-secrets.sh", tmp_path]
    subprocess.run(script, check=True, capture_output=True)
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    (tmp_path / "audit_key").unlink()
    subprocess.run(script, check=True, capture_output=True)
    after = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert {name for name in before if before[name] != after[name]} == {"audit_key"}


def test_the_api_trusts_the_address_of_the_proxy_in_front_of_it():
    compose = load_all(COMPOSE)[0]
    address = compose["services"]["caddy"]["networks"]["service"]["ipv4_address"]
    assert compose["services"]["api"]["environment"]["SYNCCASH_TRUSTED_PROXIES"] == address
    [network] = compose["networks"]["service"]["ipam"]["config"]
    assert ipaddress.ip_address(address) in ipaddress.ip_network(network["subnet"])


def test_the_proxy_forwards_to_the_api_and_hides_its_metrics():
    text = (DEPLOY / "caddy" / "Caddyfile").read_text(encoding="utf-8")
    [(host, port)] = re.findall(r"reverse_proxy \{\$UPSTREAM:(\w+):(\d+)\}", text)
    api = load_all(COMPOSE)[0]["services"][host]
    assert api["command"] == ["serve"]
    assert api["environment"]["SYNCCASH_PORT"] == port
    asked = re.findall(r"(?:health_uri|@inside path) (\S+)", text)
    assert {("GET", path) for path in asked} <= set(ROUTE_SCOPES)


def test_prometheus_scrapes_each_process_at_its_port():
    services = load_all(COMPOSE)[0]["services"]
    names = {name: tuple(service["command"]) for name, service in services.items() if "command" in service}
    ports = {role.command: role.port for role in ROLES if role.where == "compose"}
    for configuration in DEPLOY.glob("prometheus/prometheus.yml"):
        [job] = load_all(configuration)[0]["scrape_configs"]
        scraped = {names[name]: found["port"] for found in job["dns_sd_configs"] for name in found["names"]}
        assert scraped == {command: port for command, port in ports.items() if port is not None}


def test_kubernetes_lets_prometheus_reach_every_port():
    ports = {port for role in ROLES if role.where == "kubernetes" for port in role.ports}
    policies = {
        thing["metadata"]["name"]: thing["spec"]
        for thing in kubernetes_objects()
        if thing["kind"] == "NetworkPolicy"
    }
    [rule] = policies["metrics-from-prometheus"]["ingress"]
    assert {port["port"] for port in rule["ports"]} == ports
    [rule] = policies["api-from-ingress"]["ingress"]
    assert {str(port["port"]) for port in rule["ports"]} == {
        env_file(KUBERNETES / "settings.env")["SYNCCASH_PORT"]
    }


def test_each_disruption_budget_and_policy_selects_pods_that_exist():
    label = "app.kubernetes.io/component"
    things = list(kubernetes_objects())
    pods = {
        thing["spec"]["template"]["metadata"]["labels"][label]
        for thing in things
        if thing["kind"] in ("Deployment", "Job")
    }
    for thing in things:
        spec = thing.get("spec", {})
        selector = spec.get("podSelector") or spec.get("selector") or {}
        labels = selector.get("matchLabels", selector)
        assert {labels[label]} <= pods if label in labels else labels == {}


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_no_fault_in_a_unit(unit: Path, tmp_path: Path):
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    # The program is not installed where the unit expects it.
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/synccash/bin/synccash", "/bin/true"))
    done = subprocess.run([program, "verify", "--man=no", copy], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_loads_the_credentials_that_its_variables_name(unit: Path):
    loaded = {line.split(":")[0] for line in unit_lines(unit, "LoadCredential")}
    named = {line.split("%d/")[1] for line in unit_lines(unit, "Environment") if "%d/" in line}
    assert loaded == named
