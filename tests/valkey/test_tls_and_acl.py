"""Valkey over TLS, and as a user with the rights of docs/operating.md alone."""

import asyncio
import contextlib
import re
import ssl
import subprocess
from collections.abc import AsyncGenerator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
import redis

from api.served import served
from certificates import Certificates
from synccash.servers.binaries import find_valkey
from synccash.stores.valkey.client import UNREACHABLE, build_client
from synccash.stores.valkey.connection import ValkeyConnection

DOCUMENTED = Path(__file__).parents[2] / "docs" / "operating.md"
BOTH = [build_client, ValkeyConnection]


@contextlib.asynccontextmanager
async def tls_in_front(socket: str, files: Certificates) -> AsyncGenerator[int]:
    """A port that takes TLS off and passes the bytes to a Valkey on a unix socket."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    tasks: set[asyncio.Task[None]] = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(socket)
        for pair in ((reader, inner_writer), (inner_reader, writer)):
            task = asyncio.create_task(copy(*pair))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def set_and_get(kind, url: str) -> bytes:
    client = kind(url, deadline_s=5.0)
    try:
        if isinstance(client, ValkeyConnection):
            await client.call("SET", "synccash:tls", "1")
            return await client.call("GET", "synccash:tls")
        await client.set("synccash:tls", "1")
        return await client.get("synccash:tls")
    finally:
        await client.aclose()


@pytest.mark.parametrize("kind", BOTH)
async def test_both_connections_speak_tls_and_check_the_certificate(kind, valkey_url, certificates):
    found = urlsplit(valkey_url)
    async with tls_in_front(found.path, certificates) as port:
        url = f"valkeys://:{found.password}@localhost:{port}"
        assert await set_and_get(kind, f"{url}?ssl_ca_certs={quote(str(certificates.authority))}") == b"1"
        with pytest.raises(UNREACHABLE, match="certificate verify failed"):
            await set_and_get(kind, url)


def test_the_bundled_server_itself_speaks_tls(tmp_path, certificates):
    argv = [find_valkey().path, "--port", "0", "--tls-port", "1", "--tls-cert-file", certificates.certificate]
    argv += ["--tls-key-file", certificates.key, "--dir", tmp_path]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        try:
            told, _ = server.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            server.kill()
            return
    if re.search(r"Failed finding TLS support|Bad directive", told):
        pytest.skip(
            "this valkey-server is built without TLS, so TLS is tested through a proxy in front of it"
        )
    raise AssertionError(told)


async def test_the_documented_rights_are_enough_for_the_service(valkey_url, database_url):
    [rule] = re.findall(r"ACL SETUSER synccash_service (on .*)", DOCUMENTED.read_text())
    rights = rule.replace("PASSWORD", "pass/word").split()
    socket = urlsplit(valkey_url).path
    url = f"unix://synccash_service:{quote('pass/word', safe='')}@{socket}"
    with redis.Redis.from_url(valkey_url) as admin:
        admin.execute_command("ACL", "SETUSER", "synccash_service", *rights)
        admin.execute_command("ACL", "LOG", "RESET")
        try:
            async with served(database_url, valkey_url=url) as api:
                await api.pay()
                listed = await api.send("GET", "/resilience/circuit-breakers", key=api.admin_key)
                assert listed.status_code == 200
                await api.send(
                    "POST",
                    "/resilience/circuit-breakers/MTN_MOMO/force-open",
                    {"reason": "test"},
                    key=api.admin_key,
                )
                await api.send("POST", "/resilience/circuit-breakers/MTN_MOMO/reset", {}, key=api.admin_key)
            with redis.Redis.from_url(url) as user, pytest.raises(redis.exceptions.NoPermissionError):
                user.get("another:key")
            denied = admin.execute_command("ACL", "LOG")
            assert [found["object"] for found in map(_named, denied)] == ["another:key"]
        finally:
            admin.execute_command("ACL", "DELUSER", "synccash_service")


def _named(entry) -> dict[str, str]:
    pairs = entry.items() if isinstance(entry, dict) else zip(entry[::2], entry[1::2], strict=True)
    text = lambda value: value.decode() if isinstance(value, bytes) else str(value)  # noqa: E731
    return {text(name): text(value) for name, value in pairs}
