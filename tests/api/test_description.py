"""The service answers as its OpenAPI document describes, to valid requests and to many invalid ones.

Everything that is described is called: with made-up ids and with those of real objects, by whom it is for. A
deeper search than the suite's is `FUZZ_EXAMPLES=200 pytest tests/api/test_description.py`.
"""

import json
import os
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from service.in_process import RunningService, running_service
from service.objects import REVIEWED, objects_of

FEW = 3
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", FEW))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def service(database_of_file: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("rails")
    with running_service(database_of_file, folder, tells=False, risk_review_from=REVIEWED) as running:
        yield running


def is_the_operator_s(operation: Any) -> bool:
    said = operation.definition.raw.get("description", "")
    return said.startswith("Operator") or "/resilience/" in operation.path


def problems_of(answer: Any) -> list[str]:
    """What is wrong with an error beside its shape."""
    if answer.status_code < 400 or answer.headers["content-type"][0] != "application/problem+json":
        return []
    told = json.loads(answer.content)
    expected = {"status": answer.status_code, "type": f"urn:synccash:problem:{told['code']}"}
    return [name for name, value in expected.items() if told[name] != value]


# The service's own thread throws dice while values are drawn here.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
def test_every_call_answers_as_described(service: RunningService):
    objects, _ = objects_of(service)
    with urllib.request.urlopen(service.url + "/openapi.json") as reply:
        description = json.load(reply)
    for found in schemathesis.openapi.from_dict(description).get_all_operations():
        operation = found.ok()
        modes = [GenerationMode.POSITIVE]
        if "parameters" in operation.definition.raw or "requestBody" in operation.definition.raw:
            modes.append(GenerationMode.NEGATIVE)
        for mode in modes:
            search(service, objects, operation, mode)


def search(service: RunningService, objects: Mapping[str, str], operation: Any, mode: GenerationMode) -> None:
    """Call an operation with what is generated for it, and with the same about real objects."""
    key = service.admin_key if is_the_operator_s(operation) else service.key
    headers = {"Authorization": f"Bearer {key}"}

    @settings(
        max_examples=EXAMPLES,
        derandomize=EXAMPLES == FEW,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: schemathesis.Case) -> None:
        made_up = dict(case.path_parameters)
        real = {name: objects.get(name, value) for name, value in made_up.items()}
        for ids in [made_up] if real == made_up else [made_up, real]:
            case.path_parameters = ids
            answer = case.call(base_url=service.url, headers=headers)
            case.validate_response(answer, checks=CHECKS, headers=headers)
            assert problems_of(answer) == []

    check()
