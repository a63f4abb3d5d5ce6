"""The commands of the files in deploy/ start with the variables of these files, and answer their probes."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from deploy.roles import DEPLOY, PORT_SETTINGS, ROLES, Role
from service.installation import Running, call, wait_until
from synccash.local.free_ports import free_run_of_ports

SERVED = [role for role in ROLES if role.command[0] in PORT_SETTINGS]
MIGRATING = [role for role in ROLES if role.command == ("migrate",)]


@pytest.fixture
def secrets(tmp_path: Path) -> Callable[..., None]:
    """Writes the secrets as an operator does, and replaces the addresses of the servers by the tests'."""
    subprocess.run(["sh", DEPLOY / "compose" / "make-secrets.sh", tmp_path], check=True, capture_output=True)

    def write(**addresses: str) -> None:
        for name, address in addresses.items():
            (tmp_path / name).write_text(address)

    return write


def environment_of(role: Role, folder: Path) -> dict[str, str]:
    files = {name: str(folder / secret) for name, secret in role.secrets.items()}
    return {**role.environment, **files, "SYNCCASH_HOST": "127.0.0.1"}


@pytest.mark.parametrize("role", SERVED, ids=lambda role: role.id)
def test_a_process_starts_and_answers_its_probes(
    role: Role, secrets: Callable[..., None], tmp_path: Path, database_url: str, valkey_url: str
):
    secrets(database_url=database_url, valkey_url=valkey_url)
    port = free_run_of_ports(1)
    environment = environment_of(role, tmp_path) | {PORT_SETTINGS[role.command[0]]: str(port)}
    running = Running.of(*role.command, environment=environment)

    def answered(path: str) -> bool:
        assert running.process.poll() is None, running.tail(20)
        try:
            return call("GET", f"http://127.0.0.1:{port}{path}").status == 200
        except OSError:
            return False

    try:
        for path in (*role.probes, "/metrics"):
            wait_until(f"{path} answers 200", lambda path=path: answered(path))
        assert running.stop() == 0
    finally:
        running.stop()


@pytest.mark.parametrize("role", MIGRATING, ids=lambda role: role.id)
def test_the_migration_gives_the_service_its_role(
    role: Role, secrets: Callable[..., None], tmp_path: Path, empty_database_url: str, valkey_url: str
):
    # The owner is a superuser, as in the composition: it creates the service's role.
    parts = urlsplit(empty_database_url)
    secrets(
        database_url=parts._replace(netloc="deployed_service:secret@").geturl(),
        migration_database_url=parts._replace(netloc=f"postgres:{parts.password}@").geturl(),
        valkey_url=valkey_url,
    )
    running = Running.of(*role.command, environment=environment_of(role, tmp_path))
    assert running.process.wait() == 0, running.tail(20)
    running.stop()
    assert running.printed == [
        "The schema is up to date.",
        "The role deployed_service has the rights that the service needs, and no others.",
    ]
