"""The service answers as its OpenAPI document describes, to valid requests and to many invalid ones.

Everything that is described is called: with made-up ids and with those of real objects, by the key that it is
for and by the other one. A deeper search than the suite's is
`FUZZ_EXAMPLES=250 pytest tests/api/test_description.py -k payments`, for each tag and for `stateful`.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import FlakyStrategyDefinition
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    ensure_resource_availability,
    missing_required_header,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
    use_after_free,
)

from servers_fixture import execute
from service.in_process import RunningService, running_service
from service.objects import REVIEWED, objects_of

FEW = 3
ONLY_REAL_MERCHANTS = """
ALTER TABLE balance_entries DISABLE TRIGGER balance_entries_are_appended;
DELETE FROM balance_entries WHERE merchant_id NOT LIKE 'mer\\_%';
ALTER TABLE balance_entries ENABLE TRIGGER balance_entries_are_appended;
"""
"""Removes the credits of the merchants of other tests, who have ids that the service never gives."""
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", FEW))
STEPS = 6
TAGS = (
    "administration",
    "operators",
    "approvals",
    "payments",
    "refunds",
    "payouts",
    "balance",
    "events",
    "webhook endpoints",
    "resilience",
    "health",
)
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    missing_required_header,
    unsupported_method,
    allow_header_conformance,
]
CHECKS_OF_SEQUENCES = [*CHECKS, use_after_free, ensure_resource_availability]

# The service's own thread throws dice while values are drawn here.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Do not use the `random` module")]


@pytest.fixture(scope="module")
def service(database_of_file: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("rails")
    execute(database_of_file, ONLY_REAL_MERCHANTS)
    with running_service(database_of_file, folder, tells=False, risk_review_from=REVIEWED) as running:
        yield running


@pytest.fixture(scope="module")
def objects(service: RunningService) -> Mapping[str, str]:
    return objects_of(service)[0]


@pytest.fixture(scope="module")
def described(service: RunningService) -> Any:
    found = schemathesis.openapi.from_url(service.url + "/openapi.json")
    # The tests send the key themselves; a request without one is what test_tenants.py is about.
    found.config.generation.update(with_security_parameters=False)
    return found


def is_the_operator_s(operation: Any) -> bool:
    said = operation.definition.raw.get("description", "")
    return said.startswith("Operator") or "/resilience/" in operation.path


def problems_of(answer: Any) -> list[str]:
    """What is wrong with an error beside its shape."""
    if answer.status_code < 400 or answer.headers["content-type"][0] != "application/problem+json":
        return []
    told = json.loads(answer.content)
    code = told["code"]
    expected = {
        "status": answer.status_code,
        "type": f"urn:synccash:problem:{code}",
        "doc_url": f"/docs/problems#{code}",
    }
    return [name for name, value in expected.items() if told[name] != value]


def searching(examples: int, **more: Any) -> settings:
    return settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        **more,
    )


def test_the_tags_are_those_of_the_document(described: Any):
    tags = {tag for found in described.get_all_operations() for tag in found.ok().definition.raw["tags"]}
    assert tags == set(TAGS)


@pytest.mark.parametrize("tag", TAGS)
def test_every_call_answers_as_described(
    service: RunningService, objects: Mapping[str, str], described: Any, tag: str
):
    for found in described.get_all_operations():
        operation = found.ok()
        raw = operation.definition.raw
        if tag not in raw["tags"]:
            continue
        modes = [GenerationMode.POSITIVE]
        if "parameters" in raw or "requestBody" in raw:
            modes.append(GenerationMode.NEGATIVE)
        keys = [service.key, service.admin_key]
        for mode in modes:
            for key in reversed(keys) if is_the_operator_s(operation) else keys:
                search(objects, operation, mode, key)


def search(objects: Mapping[str, str], operation: Any, mode: GenerationMode, key: str) -> None:
    """Call an operation with what is generated for it, and with the same about real objects."""
    headers = {"Authorization": f"Bearer {key}"}

    @searching(EXAMPLES, derandomize=EXAMPLES == FEW)
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: schemathesis.Case) -> None:
        made_up = dict(case.path_parameters)
        real = {name: objects.get(name, value) for name, value in made_up.items()}
        # With a real id, a request that was invalid by its id only is a valid one.
        bad_path = case.meta.components.get(ParameterLocation.PATH)
        is_real_too = real != made_up and not (bad_path and bad_path.mode.is_negative)
        for ids in [made_up, real] if is_real_too else [made_up]:
            if ids is real:
                case.path_parameters = real
            answer = case.call(headers=headers)
            case.validate_response(answer, checks=CHECKS, headers=headers)
            assert problems_of(answer) == []

    check()


@pytest.mark.parametrize("caller", ["merchant", "operator"])
def test_sequences_of_linked_calls_are_answered_as_described_stateful(
    service: RunningService, described: Any, caller: str
):
    """Answers give the ids of the next calls, by the links of the document."""
    headers = {"Authorization": f"Bearer {service.key if caller == 'merchant' else service.admin_key}"}
    made: list[int] = []

    class Sequences(described.as_state_machine()):
        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            # An operator has no objects of its own: the merchant's key makes them.
            admin = caller == "operator" and is_the_operator_s(case.operation)
            return {"headers": headers if admin else {"Authorization": f"Bearer {service.key}"}}

        def validate_response(self, response: Any, case: Any, **_: Any) -> None:
            made.append(response.status_code)
            case.validate_response(response, checks=CHECKS_OF_SEQUENCES)
            assert problems_of(response) == []

    # A sequence that hypothesis repeats meets objects in another state, and so draws other values: then the
    # run ends, and another one goes on.
    while len(made) < EXAMPLES * STEPS:
        with contextlib.suppress(FlakyStrategyDefinition):
            Sequences.run(settings=searching(EXAMPLES, stateful_step_count=STEPS))
    print(f"{caller}: {len(made)} calls, {sum(status < 300 for status in made)} succeeded")
    # Each run begins anywhere, so a short search may make only invalid requests.
    assert EXAMPLES == FEW or any(status < 300 for status in made)
