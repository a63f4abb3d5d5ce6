"""Validates JSON against the service's OpenAPI document, with answers closed: what is served is described."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema_rs

OPEN_OBJECTS: Mapping[str, str] = {
    "EntryShown": "the members of a timeline entry depend on its kind; test_merchant_view.py is about them",
}
"""Answers that may have members that are not described, and why."""
FREE_OBJECTS: Mapping[str, str] = {
    "PaymentBody.metadata": "the merchant's own data",
    "PayoutBody.metadata": "the merchant's own data",
    "PaymentShown.metadata": "the merchant's own data",
    "PayoutShown.metadata": "the merchant's own data",
    "EventShown.data": "its object depends on the type: each webhook describes that of its own type",
    "EventShown.data.object": "as above",
    "ApprovalShown.parameters": "they depend on the action",
    "ApprovedShown.result": "as the call of the action itself describes it",
    "OrderShown.metadata": "the merchant's own data",
    "ListedReconciliationShown.counts": "by verdict",
    "ReconciliationShown.counts": "by verdict",
    "RailShown.networks": "by network",
    "HealthShown.rails": "by rail",
    "HealthShown.warnings": "by part of the service",
    "FloatShown.by_network": "by network",
    "ResilienceHealthShown.breakers": "by breaker",
    "RouteCandidateShown.seen": "by aspect of health",
}
"""Properties that are objects with names that are not listed, and why."""
UNDESCRIBED_ANSWERS: Mapping[str, str] = {
    "/api/v1/admin/audit": "the answers about the audit log are not described yet",
    "/api/v1/admin/audit/export": "as above",
}
"""Paths whose answers may be objects without a schema, and why."""


@dataclass(frozen=True, slots=True)
class Document:
    """The OpenAPI document as it is served."""

    raw: Mapping[str, Any]

    def operations(self) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """Yield method, path and operation of each call."""
        for path, item in self.raw["paths"].items():
            for method, operation in item.items():
                yield method.upper(), path, operation

    def resolved(self, holder: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a reference stands for."""
        while "$ref" in holder:
            found: Any = self.raw
            for part in holder["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            holder = found
        return holder

    def schema_of(self, operation: Mapping[str, Any], status: int) -> Mapping[str, Any] | None:
        """The schema of an answer; None for one without a body. Fails for a status that is not described."""
        assert str(status) in operation["responses"], f"{operation['operationId']} describes no {status}"
        content = self.resolved(operation["responses"][str(status)]).get("content")
        return None if content is None else next(iter(content.values()))["schema"]

    def errors(self, value: Any, schema: Mapping[str, Any]) -> list[str]:
        """What of a value does not fit a schema."""
        whole = {**schema, "components": closed(self.raw["components"])}
        validator = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
        return [
            f"{'.'.join(map(str, error.instance_path))}: {error.message}"
            for error in validator.iter_errors(value)
        ]


def closed(components: Mapping[str, Any]) -> Any:
    """The components, with schemas that allow no members but their own."""
    components = copy.deepcopy(dict(components))
    for name, schema in components["schemas"].items():
        if "properties" in schema and name not in OPEN_OBJECTS:
            schema["additionalProperties"] = False
    return components
