"""What the files in deploy/ start: the command, the variables, the port and the probes of each process."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = DEPLOY / "compose" / "compose.yaml"
KUBERNETES = DEPLOY / "kubernetes" / "base"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
PORT_SETTINGS = {
    "serve": "SYNCCASH_PORT",
    "worker": "SYNCCASH_WORKER_PORT",
    "webhooks": "SYNCCASH_WEBHOOK_PORT",
}
SECRETS_IN_KUBERNETES = (
    "DATABASE_URL",
    "VALKEY_URL",
    "INSTALLATION_KEY",
    "ENCRYPTION_KEYS",
    "LOOKUP_KEY",
    "AUDIT_KEY",
)
"""The keys of the Secret that docs/deploying.md has the reader create."""


@dataclass(frozen=True, slots=True)
class Role:
    """One process. `secrets`: variables ending in _FILE, with the name of the secret that they point to."""

    where: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    secrets: Mapping[str, str]
    probes: tuple[str, ...] = ()
    ports: tuple[int, ...] = field(default=())

    @property
    def id(self) -> str:
        return f"{self.where}-{self.command[0]}"

    @property
    def port(self) -> int | None:
        """The port that the process listens on, by its variables."""
        value = self.environment.get(PORT_SETTINGS.get(self.command[0], ""))
        return None if value is None else int(value)


def load_all(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def env_file(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
    return dict(line.split("=", 1) for line in lines)


def compose_roles() -> Iterator[Role]:
    settings = env_file(DEPLOY / "compose" / "synccash.env.example") | {"SYNCCASH_HOST": "0.0.0.0"}
    for service in load_all(COMPOSE)[0]["services"].values():
        if not service["image"].startswith("synccash:"):
            continue
        given: dict[str, str] = service["environment"]
        files = {name: value for name, value in given.items() if name.endswith("_FILE")}
        assert all(value.startswith("/run/secrets/") for value in files.values())
        test: Sequence[str] = service.get("healthcheck", {}).get("test", ())
        urls = re.findall(r"http://127\.0\.0\.1:(\d+)(/[\w/]+)", " ".join(test))
        yield Role(
            "compose",
            tuple(service["command"]),
            settings | {name: value for name, value in given.items() if name not in files},
            {name: value.removeprefix("/run/secrets/") for name, value in files.items()},
            probes=tuple(path for _, path in urls),
            ports=tuple(int(port) for port, _ in urls),
        )


def kubernetes_objects() -> Iterator[Any]:
    kustomization = load_all(KUBERNETES / "kustomization.yaml")[0]
    for name in kustomization["resources"]:
        yield from load_all(KUBERNETES / name)


def kubernetes_roles() -> Iterator[Role]:
    settings = env_file(KUBERNETES / "settings.env")
    for thing in kubernetes_objects():
        if thing["kind"] not in ("Deployment", "Job"):
            continue
        template = thing["spec"]["template"]
        [container] = template["spec"]["containers"]
        names = [f"SYNCCASH_{name}" for name in SECRETS_IN_KUBERNETES]
        if thing["kind"] == "Job":
            names.append("SYNCCASH_MIGRATION_DATABASE_URL")
        probes = [container[kind] for kind in container if kind.endswith("Probe")]
        annotations = template["metadata"].get("annotations", {})
        ports = [port["containerPort"] for port in container.get("ports", ())]
        ports += [int(annotations[name]) for name in annotations if name.endswith("/port")]
        yield Role(
            "kubernetes",
            tuple(container["args"]),
            settings,
            {f"{name}_FILE": name.removeprefix("SYNCCASH_").lower() for name in names},
            probes=tuple(probe["httpGet"]["path"] for probe in probes),
            ports=tuple(ports),
        )


def unit_lines(unit: Path, key: str) -> list[str]:
    lines = unit.read_text(encoding="utf-8").splitlines()
    return [line.removeprefix(f"{key}=") for line in lines if line.startswith(f"{key}=")]


def systemd_roles() -> Iterator[Role]:
    settings = env_file(DEPLOY / "systemd" / "synccash.env.example")
    for unit in UNITS:
        [start] = unit_lines(unit, "ExecStart")
        program, *command = shlex.split(start)
        assert program == "/opt/synccash/bin/synccash"
        given = dict(line.split("=", 1) for line in unit_lines(unit, "Environment"))
        files = {name: value for name, value in given.items() if name.endswith("_FILE")}
        assert all(value.startswith("%d/") for value in files.values())
        role = command[0]
        yield Role(
            "systemd",
            tuple(command),
            settings | {name: value for name, value in given.items() if name not in files},
            {name: value.removeprefix("%d/") for name, value in files.items()},
            probes=("/health/ready",)
            if role == "serve"
            else ("/health/live",)
            if role in PORT_SETTINGS
            else (),
        )


ROLES = [*compose_roles(), *kubernetes_roles(), *systemd_roles()]
