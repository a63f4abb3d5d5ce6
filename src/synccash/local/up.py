"""`synccash up`: starts and supervises the servers, the API, the worker, the webhooks process and the sandbox
on one machine."""

import asyncio
import contextlib
import json
import os
import secrets
import socket
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from synccash.administration.database import ENCRYPTION_KEYS_FILE
from synccash.administration.errors import AdministrationError
from synccash.administration.operators.console_link import make_console_link
from synccash.engine.system import SystemClock
from synccash.local.free_ports import SANDBOX_PORTS, free_run_of_ports
from synccash.local.request_lines import RequestFormat, RequestLines, is_coloured, resolved
from synccash.local.supervisor import PreparedChild, Program, Supervisor
from synccash.payments.balance import BalanceAccount, credit_source
from synccash.payments.rail import Environment
from synccash.payments.references import KEY_BYTES_MIN
from synccash.payments.request import Role
from synccash.rails.registry import RAILS, build_rails
from synccash.rails.sandbox_account import SandboxRail
from synccash.rails.transport import Transport
from synccash.servers.bundle import Servers, start_servers
from synccash.servers.data_directory import open_data_folder, stored_password
from synccash.servers.postgres import (
    SERVICE_PASSWORD,
    SERVICE_ROLE,
    postgres_url,
    service_url,
    superuser_url,
)
from synccash.settings.encryption_keys import KEY_BYTES
from synccash.settings.loader import CONFIGURATION, LoadedSettings, SettingsError, load_settings
from synccash.settings.secret import Secret
from synccash.stores.encryption import encryption_of
from synccash.stores.postgres.audit import PostgresAudit
from synccash.stores.postgres.balances import PostgresBalances
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.merchants import PostgresKeys
from synccash.stores.postgres.migrations import migrate
from synccash.stores.postgres.pool import connect
from synccash.stores.postgres.rail_accounts import PostgresRailAccounts
from synccash.stores.postgres.resealing import PostgresResealing
from synccash.stores.postgres.runtime_role import RuntimeRoleError, ensure_role, grant_runtime_role

MERCHANT_ID = "mer_local"
LOCAL_CREDIT = 10**12
"""Pesewas that the local merchant may pay out in test mode beyond what it collects."""
_TIMEOUT_S = 30.0
_API_FIRST_S = 5.0
"""How long the worker and the webhooks process wait for the API to be ready."""
_PAYOUT_LIMITS = (
    "payout_ceiling",
    "payout_payee_max_payouts",
    "payout_payee_max_amount",
    "payout_merchant_max_amount",
)
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - nothing is bound here


class UpError(Exception):
    """The service cannot start on this machine. The text says why, and what to do next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """The options of `synccash up`. `sandbox_url`: a sandbox that already runs elsewhere. `requests`: the
    format in which the requests to the API are printed."""

    data_dir: Path
    sandbox_port: int = 8100
    sandbox: bool = True
    sandbox_url: str | None = None
    requests: RequestFormat = "auto"


@dataclass(frozen=True, slots=True)
class Up:
    """One run of `synccash up`. Use it from the main thread only."""

    options: UpOptions
    loaded: LoadedSettings
    environment: Mapping[str, str] = field(repr=False)
    supervisor: Supervisor
    began: float

    def run(self) -> int:
        """Starts and supervises everything, and stops it cleanly on SIGTERM or SIGINT. Raises UpError."""
        settings = self.loaded.settings
        self._make_folders()
        self.supervisor.listen()
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(listening(settings.host, settings.port))
            port = listener.getsockname()[1]
            stack.callback(self.supervisor.stop)
            sandbox_url = self._start_sandbox()
            # Importing takes them as long as everything up to their release.
            apis = self._prepare_apis(listener)
            servers = stack.enter_context(
                start_servers(
                    self.options.data_dir / "servers",
                    postgres=settings.database_url is None,
                    valkey=settings.valkey_url is None,
                )
            )
            for note in servers.notes:
                say(note)
            # Registered a second time, so that the children end before the servers that they use.
            stack.callback(self.supervisor.stop)
            database_url = settings.database_url or servers.database_url
            if database_url is None:
                raise UpError("there is no database: set database_url")
            migrate(database_url)
            service_url = None if servers.database_url is None else prepare_service_role(servers)
            keys = self._keys(database_url)
            environment = self._environment(servers, service_url, port, sandbox_url)
            if settings.database_url is None:
                asyncio.run(encrypt_rows(database_url, environment))
            asyncio.run(confirm_test_accounts(database_url, environment))
            stack.callback(self._api_file.unlink, missing_ok=True)
            local_host = "localhost" if settings.host in _WILDCARDS else self._shown_host
            self._api_file.write_text(json.dumps({"url": f"http://{local_host}:{port}"}), encoding="utf-8")
            self._announce(port, keys, sandbox_url, asyncio.run(self._console_link(database_url, port)))
            for number, api in enumerate(apis):
                api.release({**environment, **self._metrics_port(number)})
            self.supervisor.watch(self._make_tend(servers, port, environment))
            say("stopping")
        say("stopped")
        return 0

    def _make_folders(self) -> None:
        open_data_folder(self.options.data_dir)
        (self.options.data_dir / "logs").mkdir(exist_ok=True, mode=0o700)

    def _start_sandbox(self) -> str | None:
        if self.options.sandbox_url is not None:
            return self.options.sandbox_url.rstrip("/")
        if not self.options.sandbox:
            return None
        port = self.options.sandbox_port or free_run_of_ports(SANDBOX_PORTS)
        folder = self.options.data_dir / "sandbox"
        argv = [*_ME, "sandbox", "--child", "--port", str(port), "--data-dir", str(folder)]
        self.supervisor.add(
            Program(name="sandbox", argv=argv, env=self.environment, log=self._log("sandbox"), grace_s=5.0)
        )
        return f"http://127.0.0.1:{port}"

    def _prepare_apis(self, listener: socket.socket) -> list[PreparedChild]:
        fd = listener.fileno()
        return [
            self.supervisor.prepare(
                Program(
                    name=name,
                    argv=[*_ME, "serve", "--child", "--fd", str(fd)],
                    env=self.environment,
                    log=self._log(name),
                    pass_fds=(fd,),
                )
            )
            for name in self._api_names()
        ]

    def _start_background(self, environment: Mapping[str, str]) -> None:
        for name in ("worker", "webhooks"):
            argv = [*_ME, name, "--child"]
            self.supervisor.add(Program(name=name, argv=argv, env=environment, log=self._log(name)))

    def _metrics_port(self, number: int) -> dict[str, str]:
        """Returns the setting of an API process's own port for metrics: the first one has `metrics_port`, and
        each other one the next."""
        first = self.loaded.settings.metrics_port
        return {} if first is None else {"SYNCCASH_METRICS_PORT": str(first + number)}

    def _environment(
        self, servers: Servers, service_url: str | None, port: int, sandbox_url: str | None
    ) -> dict[str, str]:
        """Returns the children's environment: our defaults, except where the user set a value."""
        public_url = f"http://localhost:{port}"
        if "public_url" in self.loaded.sources:
            public_url = self.loaded.settings.public_url.rstrip("/")
        defaults: dict[str, str | None] = {
            "database_url": service_url,
            "valkey_url": servers.valkey_url,
            "public_url": public_url,
            "installation_key": self._installation_key(),
            "four_eyes": "off",
            "drain_s": "0",
            **self._encryption_keys(),
        }
        if sandbox_url is not None:
            defaults["fraud_url"] = f"{sandbox_url}/fraud"
            # The sandbox moves no real money, and the examples exceed the default payout limits.
            defaults |= dict.fromkeys(_PAYOUT_LIMITS, str(10**12))
            defaults |= {
                "ladder": "sandbox",
                "settle_s": "3",
                "resend_pause_max_s": "10",
                "queue_retry_s": "1",
                "breaker_open_s": "3",
                "float_poll_s": "5",
            }
            defaults |= sandbox_rails(
                sandbox_url, self.options.data_dir / "sandbox_credentials.json", public_url, self._wait
            )
            for rail in RAILS:
                addresses = {name for name in defaults if name.startswith(rail) and name.endswith("_url")}
                if addresses & self.loaded.sources.keys():
                    # The user's URL is not the sandbox's: only the operator knows its environment.
                    defaults.pop(f"{rail}_environment", None)
        return dict(self.environment) | {
            f"SYNCCASH_{name.upper()}": value
            for name, value in defaults.items()
            if value is not None and name not in self.loaded.sources
        }

    def _keys(self, database_url: Secret | str) -> dict[str, str]:
        keys = load_or_create(
            self.options.data_dir / "keys.json",
            lambda: {
                "test": f"sk_test_{secrets.token_hex(24)}",
                "admin": f"sk_admin_{secrets.token_hex(24)}",
            },
        )
        asyncio.run(register(database_url, keys))
        return keys

    def _installation_key(self) -> str:
        """Returns the installation key of this data folder.

        Without it, attempts that a restored database has lost cannot be found at the rails.
        """
        made = load_or_create(
            self.options.data_dir / "installation_key.json", lambda: {"key": secrets.token_hex(KEY_BYTES_MIN)}
        )
        return made["key"]

    def _encryption_keys(self) -> dict[str, str]:
        """Returns the keys that encrypt personal data in this data folder, as settings."""
        if {"encryption_keys", "lookup_key"} & self.loaded.sources.keys():
            return {}
        return load_or_create(
            self.options.data_dir / ENCRYPTION_KEYS_FILE,
            lambda: {
                "encryption_keys": f"1:{secrets.token_hex(KEY_BYTES)}",
                "lookup_key": secrets.token_hex(KEY_BYTES),
            },
        )

    async def _console_link(self, database_url: Secret | str, port: int) -> str | None:
        """Returns a one-time link to the console; None where it is switched off, or needs a password."""
        if not self.loaded.settings.console:
            return None
        pool = await connect(database_url, min_size=0, max_size=1)
        try:
            return await make_console_link(Database(pool), f"http://{self._shown_host}:{port}")
        except AdministrationError:
            return f"http://{self._shown_host}:{port}/console"
        finally:
            await pool.close()

    def _announce(
        self, port: int, keys: Mapping[str, str], sandbox_url: str | None, console: str | None
    ) -> None:
        base = f"http://{self._shown_host}:{port}"
        lines = [f"api        {base}/api/v1", f"docs       {base}/docs"]
        if console is not None:
            lines.append(f"console    {console}")
        if sandbox_url is not None:
            lines.append(f"sandbox    {sandbox_url}")
            lines.extend(f"{name:<10} {url}" for name, url in self._rail_urls(sandbox_url).items())
        lines.append(f"test key   {keys['test']}")
        lines.append(f"admin key  {keys['admin']}")
        lines.append(f"logs       {self.options.data_dir / 'logs'}")
        print("\n".join(lines), flush=True)

    @property
    def _shown_host(self) -> str:
        host = self.loaded.settings.host
        return "localhost" if host in _LOOPBACK else host

    @property
    def _api_file(self) -> Path:
        """The file in which the commands of operators find the API while it runs."""
        return self.options.data_dir / "api.json"

    def _rail_urls(self, sandbox_url: str) -> dict[str, str]:
        return rail_urls(sandbox_url, self._wait)

    def _make_tend(self, servers: Servers, port: int, environment: Mapping[str, str]) -> Callable[[], None]:
        ready = f"http://127.0.0.1:{port}/health/ready"
        waiting, is_started, start_by = True, False, time.monotonic() + _API_FIRST_S
        requests = self._request_lines()

        def tend() -> None:
            nonlocal waiting, is_started
            servers.tend(say)
            requests.forward()
            is_ready = waiting and answers(ready)
            if not is_started and (is_ready or time.monotonic() > start_by):
                # Not before, because they would compete with the API for the CPU.
                is_started = True
                self._start_background(environment)
            if is_ready:
                waiting = False
                say(f"ready after {time.monotonic() - self.began:.1f} s; Ctrl-C stops everything")

        return tend

    def _request_lines(self) -> RequestLines:
        logs = [self._log(name) for name in self._api_names()]
        kind = resolved(self.options.requests, sys.stdout)
        lines = RequestLines(logs, sys.stdout, kind, is_coloured(sys.stdout, self.environment))
        lines.skip_old()
        return lines

    def _api_names(self) -> list[str]:
        workers = self.loaded.settings.workers
        return ["api"] if workers == 1 else [f"api-{number}" for number in range(1, workers + 1)]

    def _wait(self, seconds: float) -> None:
        if self.supervisor.pause(seconds):
            raise UpError("stopped while starting")

    def _log(self, name: str) -> Path:
        return self.options.data_dir / "logs" / f"{name}.log"


_ME = (sys.executable, "-m", "synccash.cli")


def up(options: UpOptions, loaded: LoadedSettings, environment: Mapping[str, str]) -> int:
    """Runs everything on this machine until a stop signal and returns the exit code. Raises UpError."""
    return Up(options, loaded, environment, Supervisor(say), time.monotonic()).run()


def say(text: str) -> None:
    """Prints a line on the terminal."""
    print(text, flush=True)


@contextlib.contextmanager
def listening(host: str, port: int) -> Generator[socket.socket]:
    """Opens the API's listening socket for all API processes.

    It stays open when one of them dies, so no connection is refused. Raises UpError.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise UpError(
            f"Cannot listen on port {port} of {host} ({error.strerror}): choose another with --port"
        ) from error
    with listener:
        yield listener


def load_or_create(path: Path, make: Callable[[], dict[str, str]]) -> dict[str, str]:
    """Returns the content of a JSON file; if it does not exist, writes the result of `make` to it first.

    The file is readable by this user only and on disk before this returns.
    """
    with contextlib.suppress(FileNotFoundError):
        return json.loads(path.read_text(encoding="utf-8"))
    made = make()
    draft = path.with_suffix(".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - the mode must be right from the start
        json.dump(made, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    return made


def prepare_service_role(servers: Servers) -> str:
    """Creates the role that the service's processes connect as, gives it its rights, and returns its URL.

    Operators' commands in this folder go on as the owner of the tables. Raises UpError.
    """
    url, password = service_url(servers.directory), stored_password(servers.home / SERVICE_PASSWORD)
    try:
        asyncio.run(ensure_role(superuser_url(servers.directory), SERVICE_ROLE, password))
        asyncio.run(grant_runtime_role(postgres_url(servers.directory), SERVICE_ROLE))
    except RuntimeRoleError as error:
        raise UpError(str(error)) from error
    return url


async def register(database_url: Secret | str, keys: Mapping[str, str]) -> None:
    """Registers the local merchant and its keys in the database. A repeat changes nothing."""
    pool = await connect(database_url, min_size=0, max_size=1)
    try:
        store = PostgresKeys(Database(pool))
        await store.ensure_merchant(MERCHANT_ID, "Local merchant")
        await store.ensure_key(
            sha256(keys["test"].encode()).digest(), Role.MERCHANT, merchant_id=MERCHANT_ID, livemode=False
        )
        await store.ensure_key(
            sha256(keys["admin"].encode()).digest(), Role.ADMIN, merchant_id=None, livemode=False
        )
        await grant_local_credit(Database(pool))
    finally:
        await pool.close()


async def encrypt_rows(database_url: Secret | str, environment: Mapping[str, str]) -> None:
    """Encrypts rows that a version without encryption wrote, while nothing else runs.

    Raises UpError if the settings are invalid.
    """
    try:
        encryption = encryption_of(load_settings(environment, CONFIGURATION).settings)
    except SettingsError as error:
        raise UpError(str(error)) from error
    if encryption is None:
        return
    pool = await connect(database_url, min_size=0, max_size=1)
    try:
        async for done in PostgresResealing(Database(pool), encryption).run():
            if done.written:
                say(f"encrypted {done.written} rows of {done.table}")
    finally:
        await pool.close()


async def confirm_test_accounts(database_url: Secret | str, environment: Mapping[str, str]) -> None:
    """Confirms the test accounts of the children's settings; these move no real money.

    Raises UpError if the settings are invalid.
    """
    try:
        settings = load_settings(environment, CONFIGURATION).settings
        rails = build_rails(settings, Transport(), SystemClock())
    except SettingsError as error:
        raise UpError(str(error)) from error
    pool = await connect(database_url, min_size=0, max_size=1)
    try:
        database = Database(pool)
        store = PostgresRailAccounts(database)
        confirmed = {(one.rail, one.identity) for one in await store.recorded() if one.confirmed}
        for rail in rails.values():
            if rail.environment is Environment.TEST:
                if (rail.name, rail.account.identity) not in confirmed:
                    facts = f"{rail.account.identity} as test account {rail.account.account}"
                    await _write_audit_entry(database, "rail_confirm", rail.name, facts)
                await store.confirm(rail.account, Environment.TEST, by="synccash up", may_correct=False)
    finally:
        await pool.close()


async def grant_local_credit(database: Database) -> None:
    """Grants the local merchant credit for test payouts. A repeat changes nothing."""
    balances = PostgresBalances(database)
    account = BalanceAccount(merchant_id=MERCHANT_ID, livemode=False, currency="GHS")
    for credit in await balances.unconfirmed():
        if credit.account == account:
            await _write_audit_entry(database, "balance_confirm", f"{account} 0", "the credit of an upgrade")
            await balances.confirm(credit, 0)
    granted, is_new = await balances.grant(account, LOCAL_CREDIT, credit_source("credit", account, "up"))
    if is_new:
        await _write_audit_entry(
            database, "balance_credit", f"{account} {granted}", "the local merchant may pay out"
        )


async def _write_audit_entry(database: Database, action: str, target: str, reason: str) -> None:
    """Writes an automatic action of `synccash up` to the audit log."""
    await PostgresAudit(database).note(actor="synccash up", action=action, target=target, reason=reason)


def rail_urls(sandbox_url: str, wait: Callable[[float], None]) -> dict[str, str]:
    """Returns the URL of each rail of a sandbox. Raises UpError if the sandbox does not answer."""
    return exchange("GET", f"{sandbox_url}/", None, wait)["rails"]


def sandbox_rails(
    sandbox_url: str, path: Path, public_url: str, wait: Callable[[float], None]
) -> dict[str, str]:
    """Registers credentials at the sandbox's rails and returns the settings for them.

    The file at `path` stores the values from which the credentials are built. Leaves out rails that the
    sandbox does not simulate, such as a sandbox of an older version that runs elsewhere.
    """
    urls = rail_urls(sandbox_url, wait)
    made = load_or_create(path, lambda: {"user": str(uuid.uuid4()), "key": secrets.token_hex(16)})
    settings: dict[str, str] = {}
    for rail, registered in RAILS.items():
        if rail not in urls:
            continue
        callbacks = f"{public_url}/api/v1/callbacks/{rail}"
        sandbox_rail = SandboxRail(url=urls[rail], user=made["user"], key=made["key"], callbacks=callbacks)
        account = registered.sandbox_account(sandbox_rail)
        for resource, body in account.control.items():
            exchange("PUT", f"{sandbox_url}/control/{rail}/{resource}", body, wait)
        settings |= account.settings
    return settings


def exchange(method: str, url: str, body: Any, wait: Callable[[float], None]) -> dict[str, Any]:
    """Sends one request to a sandbox, and retries while it starts. Raises UpError after 30 s."""
    data = None if body is None else json.dumps(body).encode()
    end = time.monotonic() + _TIMEOUT_S
    while True:
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=5) as reply:  # noqa: S310 - the operator's own sandbox
                return json.load(reply)
        except urllib.error.HTTPError as error:
            raise UpError(f"the sandbox at {url} answered {error.code}: {error.read()[:300]!r}") from error
        except OSError as error:
            if time.monotonic() > end:
                raise UpError(
                    f"the sandbox at {url} does not answer: {error}. Check that it runs; "
                    "the log of a sandbox of `synccash up` is logs/sandbox.log in the data folder"
                ) from error
        wait(0.05)


def answers(url: str) -> bool:
    """Returns True if the URL answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:  # noqa: S310 - our own loopback address
            return reply.status == 200
    except OSError:
        return False
