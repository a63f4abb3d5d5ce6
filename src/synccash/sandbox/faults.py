"""The faults of a simulated rail: standing faults for all requests, and a script for the next ones."""

from collections.abc import Mapping
from enum import StrEnum
from random import Random
from typing import Annotated, Any, Literal, TypeVar

import msgspec

Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=86_400_000)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Callbacks(StrEnum):
    """How a rail sends the callback of an ended request to the caller's URL."""

    NORMAL = "normal"
    LOST = "lost"
    DUPLICATE = "duplicate"
    EARLY = "early"
    LATE = "late"
    FORGED = "forged"


class Faults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The standing faults of one rail. By default there are none."""

    latency_ms: Milliseconds = 0
    error_rate: Share = 0.0
    drop: Literal["before_commit", "after_commit"] | None = None
    drop_rate: Share = 1.0
    callbacks: Callbacks = Callbacks.NORMAL
    approve_after_ms: Milliseconds = 300
    down: bool = False
    other_amount_rate: Share = 0.0
    other_currency_rate: Share = 0.0
    other_reference_rate: Share = 0.0
    not_found_after_found_rate: Share = 0.0
    failed_then_success_rate: Share = 0.0
    late_success_after_ms: Milliseconds = 5_000
    callback_failure_rate: Share = 0.0
    reversed_rate: Share = 0.0
    reverse_after_ms: Milliseconds = 1_000


class Answer(StrEnum):
    """The response that the rail sends: the normal one, or a fault in its place."""

    NORMAL = "normal"
    DROP = "drop"
    HTTP_500 = "http_500"
    HTTP_503 = "http_503"
    HTTP_429 = "http_429"
    HTML_403 = "html_403"
    MAINTENANCE_200 = "maintenance_200"


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One scripted request: its response, whether the rail executes it, and how it ends.

    `commit` is by default true for the normal response and false for the others. `end` is a failure reason of
    the rail, or SUCCESSFUL, or NEVER. `then_success_after_ms` makes the money move after that failure.
    """

    on: Literal["money", "inquiry"] = "money"
    answer: Answer = Answer.NORMAL
    commit: bool | None = None
    latency_ms: Milliseconds = 0
    end: Annotated[str, msgspec.Meta(pattern="^[A-Z_]{1,64}$")] | None = None
    approve_after_ms: Milliseconds | None = None
    visible_after_ms: Milliseconds = 0
    then_success_after_ms: Milliseconds | None = None


class Script(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The steps for the next requests in order; each request takes the first step of its kind."""

    next: tuple[Step, ...] = ()

    def take(self, kind: Literal["money", "inquiry"]) -> tuple[Step | None, "Script"]:
        """Return the step for a request of `kind`, or None, and the script without this step."""
        for position, step in enumerate(self.next):
            if step.on == kind:
                return step, Script(self.next[:position] + self.next[position + 1 :])
        return None, self


class Treatment(msgspec.Struct, frozen=True):
    """What happens to one request: whether the rail executes it, and what it responds."""

    commit: bool
    answer: Answer


UNTOUCHED = Treatment(commit=True, answer=Answer.NORMAL)


def treat_money(faults: Faults, step: Step | None, rng: Random) -> Treatment:
    """Decide the treatment of a money request. A scripted step takes precedence over the standing faults."""
    if step is not None:
        commit = step.answer is Answer.NORMAL if step.commit is None else step.commit
        return Treatment(commit=commit, answer=step.answer)
    if faults.error_rate and rng.random() < faults.error_rate:
        return Treatment(commit=False, answer=Answer.HTTP_500)
    if faults.drop is not None and rng.random() < faults.drop_rate:
        return Treatment(commit=faults.drop == "after_commit", answer=Answer.DROP)
    return UNTOUCHED


class BadBodyError(Exception):
    """The body of a control request is invalid; `errors` has each invalid key and what was expected."""

    def __init__(self, errors: list[dict[str, str]]) -> None:
        self.errors = errors
        super().__init__("; ".join(f"{error['field']}: {error['message']}" for error in errors))


Settings = TypeVar("Settings", bound=msgspec.Struct)


def revised(current: Settings, body: object) -> Settings:
    """Return `current` with the keys of `body` changed; missing keys keep their value.

    Raises:
        BadBodyError: with every unknown key and every value of the wrong type, not only the first.
    """
    if not isinstance(body, Mapping):
        raise BadBodyError([{"field": "", "message": "expected a JSON object"}])
    known = {field.encode_name: field for field in msgspec.structs.fields(current)}
    changes: dict[str, Any] = {}
    errors: list[dict[str, str]] = []
    for key, value in body.items():  # pyright: ignore[reportUnknownVariableType]
        name = str(key)  # pyright: ignore[reportUnknownArgumentType]
        if name not in known:
            errors.append({"field": name, "message": f"unknown key; known are {', '.join(known)}"})
            continue
        try:
            changes[known[name].name] = msgspec.convert(value, known[name].type)
        except msgspec.ValidationError as error:
            errors.append({"field": name, "message": str(error)})
    if errors:
        raise BadBodyError(errors)
    return msgspec.structs.replace(current, **changes)
