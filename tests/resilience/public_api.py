"""Writes public_api.txt, the promised API of the toolkit: run `python tests/resilience/public_api.py`."""

import dataclasses
import enum
import inspect
from importlib import import_module
from pathlib import Path
from typing import get_origin

PAGE = Path(__file__).with_name("public_api.txt")
_PLAIN = (str, int, float, type(None))
MODULES = {
    "synccash.resilience": None,
    "synccash.resilience.providers": (
        "default_registry",
        "enhanced_retry_service",
        "get_provider_circuit_breaker",
        "retry_payment_provider_call",
    ),
    "synccash.resilience.http": ("HttpClassifier",),
    "synccash.resilience.registry": ("Registry",),
    "synccash.resilience.events": None,
    "synccash.resilience.profiles": ("PROFILES", "Profile"),
    "synccash.resilience.testing": None,
    "synccash.resilience.conformance": ("BreakerConformance", "BreakerUnderTest", "ClaimStoreConformance"),
}
"""The promised names of each module; None: those of `__all__`."""


def page() -> str:
    lines: list[str] = []
    for module, names in MODULES.items():
        found = import_module(module)
        lines.append(f"[{module}]")
        for name in names or found.__all__:
            lines += _describe(name, getattr(found, name))
        lines.append("")
    return "\n".join(lines)


def _describe(name: str, value: object) -> list[str]:
    if get_origin(value) is not None:
        return [f"{name}: alias of a type"]  # Python versions show unions and signatures differently
    if isinstance(value, type) and issubclass(value, enum.Enum):
        return [f"{name}: {', '.join(member.name for member in value)}"]
    if isinstance(value, type):
        bases = [base.__name__ for base in value.__bases__ if base not in (object, Exception)]
        head = f"{name}({', '.join(bases)})" if bases else name
        return [f"{head}{_signature(value)}", *(f"    {line}" for line in _members(value))]
    if callable(value):
        return [f"{name}{_signature(value)}"]
    return [f"{name}: {type(value).__name__}"]


def _members(kind: type) -> list[str]:
    fields = {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
    lines: list[str] = []
    for name, value in sorted(vars(kind).items()):
        if name.startswith("_") or name in fields:
            continue
        if isinstance(value, property):
            lines.append(f"{name}: property")
        elif callable(value):
            lines.append(f"{name}{_signature(value)}")
    return lines


def _signature(value: object) -> str:
    """Return parameter names, their order and plain defaults. Type checkers check types in test_types.py."""
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return ""
    plain = [
        one.replace(annotation=one.empty, default=_default(one.default)) for one in found.parameters.values()
    ]
    return str(found.replace(parameters=plain, return_annotation=found.empty))


def _default(value: object) -> object:
    return value if value is inspect.Parameter.empty or isinstance(value, _PLAIN) else ...


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
