"""The API answers as it describes itself, for whatever fits its description and for much that does not."""

import asyncio
import json
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.served import served

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@dataclass(frozen=True, slots=True)
class Listening:
    url: str
    key: str
    admin_key: str


@pytest.fixture(scope="module")
def listening(database_of_file: str) -> Iterator[Listening]:
    """The API behind a socket, in a thread with an event loop of its own."""
    started: list[Listening] = []
    servers: list[uvicorn.Server] = []
    ready = threading.Event()

    async def serve() -> None:
        async with served(database_of_file) as api:
            config = uvicorn.Config(api.app, port=0, lifespan="off", log_config=None)
            server = uvicorn.Server(config)
            servers.append(server)
            task = asyncio.create_task(server.serve())
            while not server.started:  # noqa: ASYNC110 - uvicorn offers nothing to wait on
                await asyncio.sleep(0.01)
            port = server.servers[0].sockets[0].getsockname()[1]
            started.append(Listening(f"http://127.0.0.1:{port}", api.key, api.admin_key))
            ready.set()
            await task

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(30)
    yield started[0]
    servers[0].should_exit = True
    thread.join(30)


def test_every_call_answers_as_it_is_described(listening: Listening):
    with urllib.request.urlopen(listening.url + "/openapi.json") as reply:
        description = json.load(reply)
    schema = schemathesis.openapi.from_dict(description)
    for found in schema.get_all_operations():
        operation = found.ok()
        modes = [GenerationMode.POSITIVE]
        if "parameters" in operation.definition.raw or "requestBody" in operation.definition.raw:
            modes.append(GenerationMode.NEGATIVE)
        for mode in modes:

            @settings(
                max_examples=3,
                derandomize=True,
                database=None,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def check(case: schemathesis.Case) -> None:
                operators = case.path.endswith(("/approve", "/decline", "/resolve", "/return-surplus"))
                key = listening.admin_key if operators else listening.key
                headers = {"Authorization": f"Bearer {key}"}
                answer = case.call(base_url=listening.url, headers=headers)
                case.validate_response(answer, checks=CHECKS, headers=headers)

            check()
