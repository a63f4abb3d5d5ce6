"""Data classes for events, webhook endpoints and the service's health."""

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
    """A change of an object. It may be delivered more than once: store its `id`, and ignore an event with a
    lower `object_version` than one that you have processed.

    `object` is the payment, refund or payout at the time of the event. It is None if the event is about
    another object, whose members are in `raw["data"]["object"]`.
    """

    id: str
    type: str
    created_at: datetime
    object_version: int
    object: Payment | Refund | Payout | None
    raw: Json = field(repr=False, compare=False)

    @classmethod
    def of(cls, raw: Any) -> Self:
        """Decode an event."""
        shown = member(member(raw, "data"), "object")
        read = _READERS.get(str(member(shown, "object")))
        thing = None if read is None else read(shown)
        return made(cls, raw, object=thing, created_at=moment(raw, "created_at"), raw=raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class Redelivery:
    """The result of a redelivery: `endpoints` is the number of endpoints that the event is sent to."""

    id: str
    endpoints: int

    @classmethod
    def of(cls, raw: Any) -> Self:
        """Decode a redelivery."""
        return made(cls, raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEndpoint:
    """A webhook endpoint, which receives events. `types` is None if it receives all types.

    It is `pending`, and its events are kept, until its server has answered a challenge: `answer_challenge`.

    `secret` is set only in the response that creates or rotates it: store it for `verify_webhook`.
    """

    id: str
    url: str
    types: tuple[str, ...] | None
    status: Literal["pending", "enabled", "disabled"]
    disabled_reason: str | None = None
    secret: str | None = field(default=None, repr=False)
    livemode: bool
    created_at: datetime
    updated_at: datetime
    raw: Json = field(repr=False, compare=False)

    @classmethod
    def of(cls, raw: Any) -> Self:
        """Decode an endpoint."""
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
    """The service's health. `degraded` names the parts that do not work normally; `warnings` describe what an
    operator has to do."""

    status: Literal["ok", "degraded", "unavailable"]
    degraded: tuple[str, ...]
    rails: Mapping[str, str]
    warnings: Mapping[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def of(cls, raw: Any) -> Self:
        """Decode the service's health."""
        return made(cls, raw, degraded=tuple(member(raw, "degraded") or ()))
