"""`serve` ends TLS with the certificate of the settings, or says why it cannot."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncGenerator

import aiohttp
import pytest
import uvicorn
from cryptography.hazmat.primitives import serialization

from certificates import make_certificates
from synccash.processes.http_server import TlsFiles, server_config, tls_files
from synccash.settings.loader import Settings, SettingsError


async def app(scope, receive, send):
    body = scope["scheme"].encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextlib.asynccontextmanager
async def serving(tls: TlsFiles | None) -> AsyncGenerator[int]:
    config = server_config(app, host="127.0.0.1", port=0, timeout_s=10.0, grace_s=1, tls=tls)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await task


def settings_of(files) -> Settings:
    return Settings(tls_certificate=str(files.certificate), tls_key=str(files.key))


async def test_a_client_that_trusts_the_authority_is_served_with_tls(certificates):
    trusting = ssl.create_default_context(cafile=str(certificates.authority))
    async with serving(tls_files(settings_of(certificates))) as port, aiohttp.ClientSession() as session:
        async with session.get(f"https://localhost:{port}/", ssl=trusting) as answer:
            assert (answer.status, await answer.text()) == (200, "https")
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get(f"https://localhost:{port}/")
        with pytest.raises(aiohttp.ClientError):
            await session.get(f"http://localhost:{port}/")


async def test_without_a_certificate_http_is_served():
    assert tls_files(Settings()) is None
    async with (
        serving(None) as port,
        aiohttp.ClientSession() as session,
        session.get(f"http://localhost:{port}/") as answer,
    ):
        assert await answer.text() == "http"


def test_what_cannot_be_used_is_named(certificates, tmp_path):
    good = settings_of(certificates)
    others = make_certificates(tmp_path)
    key = serialization.load_pem_private_key(certificates.key.read_bytes(), None)
    encrypted = tmp_path / "encrypted.pem"
    encrypted.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"password"),
        )
    )
    for changed, told in (
        ({"tls_key": None}, "tls_key is not set"),
        ({"tls_certificate": None}, "tls_certificate is not set"),
        ({"tls_certificate": str(tmp_path / "absent.pem")}, "tls_certificate: cannot read .*absent.pem"),
        ({"tls_key": str(others.key)}, "cannot be used"),
        ({"tls_key": str(encrypted)}, "unencrypted key"),
        ({"tls_certificate": str(certificates.key)}, "cannot be used"),
    ):
        given = {"tls_certificate": good.tls_certificate, "tls_key": good.tls_key, **changed}
        with pytest.raises(SettingsError, match=told):
            tls_files(Settings(**given))
