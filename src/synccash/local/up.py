"""`synccash up`: starts and supervises the servers, the API, the worker, the webhooks process and the sandbox
on one machine."""

import asyncio
import contextlib
import json
import socket
import sys
import time
import urllib.request
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from synccash.local.free_ports import SANDBOX_PORTS, free_run_of_ports
from synccash.local.messages import UpError, say
from synccash.local.request_lines import RequestFormat, RequestLines, is_coloured, resolved
from synccash.local.supervisor import PreparedChild, Program, Supervisor
from synccash.servers.bundle import Servers, start_servers
from synccash.servers.data_directory import open_data_folder
from synccash.settings.loader import LoadedSettings

_API_FIRST_S = 5.0
"""How long the worker and the webhooks process wait for the API to be ready."""
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - nothing is bound here


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
            # Imported here, because the API takes longest until it is ready, and so has to start first.
            from synccash.local import preparing

            preparing.migrate(database_url)
            service_url = None if servers.database_url is None else preparing.prepare_service_role(servers)
            keys = preparing.register_keys(database_url, self.options.data_dir)
            environment = self._environment(servers, service_url, port, sandbox_url)
            if settings.database_url is None:
                asyncio.run(preparing.encrypt_rows(database_url, environment))
            asyncio.run(preparing.confirm_test_accounts(database_url, environment))
            stack.callback(self._api_file.unlink, missing_ok=True)
            local_host = "localhost" if settings.host in _WILDCARDS else self._shown_host
            self._api_file.write_text(json.dumps({"url": f"http://{local_host}:{port}"}), encoding="utf-8")
            console = preparing.console_link(database_url, self._base(port)) if settings.console else None
            self._announce(port, keys, sandbox_url, console)
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
        from synccash.local import preparing

        public_url = f"http://localhost:{port}"
        if "public_url" in self.loaded.sources:
            public_url = self.loaded.settings.public_url.rstrip("/")
        defaults: dict[str, str | None] = {
            "database_url": service_url,
            "valkey_url": servers.valkey_url,
            "public_url": public_url,
            **preparing.own_settings(self.options.data_dir, self.loaded),
        }
        if sandbox_url is not None:
            path = self.options.data_dir / "sandbox_credentials.json"
            rails = preparing.sandbox_rails(sandbox_url, path, public_url, self._wait)
            defaults |= preparing.sandbox_settings(sandbox_url, rails, self.loaded)
        return dict(self.environment) | {
            f"SYNCCASH_{name.upper()}": value
            for name, value in defaults.items()
            if value is not None and name not in self.loaded.sources
        }

    def _announce(
        self, port: int, keys: Mapping[str, str], sandbox_url: str | None, console: str | None
    ) -> None:
        base = self._base(port)
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

    def _base(self, port: int) -> str:
        return f"http://{self._shown_host}:{port}"

    @property
    def _shown_host(self) -> str:
        host = self.loaded.settings.host
        return "localhost" if host in _LOOPBACK else host

    @property
    def _api_file(self) -> Path:
        """The file in which the commands of operators find the API while it runs."""
        return self.options.data_dir / "api.json"

    def _rail_urls(self, sandbox_url: str) -> dict[str, str]:
        from synccash.local import preparing

        return preparing.rail_urls(sandbox_url, self._wait)

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


def answers(url: str) -> bool:
    """Returns True if the URL answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:  # noqa: S310 - our own loopback address
            return reply.status == 200
    except OSError:
        return False
