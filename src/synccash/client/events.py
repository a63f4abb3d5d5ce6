"""Events, the endpoints they go to, and the service's health."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Self

from synccash.client.decoding import Json, made, mapping, member, moment
from synccash.client.models import Payment, Payout, Refund

_READERS: Mapping[str, Callable[[Any], Payment | Refund | Payout]] = {
    "payment": Payment.of,
    "refund": Refund.of,
    "payout": Payout.of,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What happened. It may come more than once: keep its `id`, and let a lower `object_version` go by.

    `object` is the payment, refund or payout as it was then; None where the event is about something else,
    whose members are in `raw["data"]["object"]`.
    """

    id: str
    type: str
    created_at: datetime
    object_version: int
    object: Payment | Refund | Payout | None
    raw: Json = field(repr=False, compare=False)

    @classmethod
    def of(cls, raw: Any) -> Self:
        """Read an event."""
        shown = member(member(raw, "data"), "object")
        read = _READERS.get(str(member(shown, "object")))
        thing = None if read is None else read(shown)
        return made(cls, raw, object=thing, created_at=moment(raw, "created_at"), raw=raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class Redelivery:
    """To how many endpoints an event goes once more."""

    id: str
    endpoints: int

    @classmethod
    def of(cls, raw: Any) -> Self:
        """Read what became of a redelivery."""
        return made(cls, raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEndpoint:
    """Where events are sent. `types` None: all of them.

    `secret` is there once, when it was made or rotated: keep it for `verify_webhook`.
    """

    id: str
    url: str
    types: tuple[str, ...] | None
    status: Literal["enabled", "disabled"]
    disabled_reason: str | None = None
    secret: str | None = field(default=None, repr=False)
    livemode: bool
    created_at: datetime
    updated_at: datetime
    raw: Json = field(repr=False, compare=False)

    @classmethod
    def of(cls, raw: Any) -> Self:
        """Read an endpoint."""
        types = member(raw, "types")
        return made(
            cls,
            raw,
            types=None if types is None else tuple(types),
            created_at=moment(raw, "created_at"),
            updated_at=moment(raw, "updated_at"),
            raw={name: value for name, value in mapping(raw).items() if name != "secret"},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether the service takes payments. `degraded` names what is not as it should be; `warnings` say what
    an operator has to do."""

    status: Literal["ok", "degraded", "unavailable"]
    degraded: tuple[str, ...]
    rails: Mapping[str, str]
    warnings: Mapping[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def of(cls, raw: Any) -> Self:
        """Read the service's health."""
        return made(cls, raw, degraded=tuple(member(raw, "degraded") or ()))
