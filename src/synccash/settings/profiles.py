"""The profiles in force: the shipped ones, with what an operator wrote in the setting `profiles`.

payment_provider.retry.attempts=4, mtn_momo.breaker.open_s=10, mtn_momo:status.breaker.failures=off
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any, get_type_hints

import msgspec

from synccash.resilience.breaker_settings import BreakerSettings
from synccash.resilience.profiles import Profile, profile_of
from synccash.resilience.retry import Retry

OPERATIONS = ("collect", "refund", "payout", "status")
_PROVIDERS = "payment_provider"

_PARTS = {"retry": Retry, "breaker": BreakerSettings}
_FIELDS: dict[str, Any] = {
    **{f"{part}.{name}": kind for part, of in _PARTS.items() for name, kind in get_type_hints(of).items()},
    "total_timeout": float,
}
del _FIELDS["retry.on"]
_BREAKER = tuple(field for field in _FIELDS if field.startswith("breaker."))
_SERVICES: dict[str, tuple[str, ...]] = {
    _PROVIDERS: tuple(_FIELDS),
    "fraud": tuple(_FIELDS),
    "database": tuple(field for field in _FIELDS if field not in _BREAKER),
    "webhook": _BREAKER,
    "valkey": _BREAKER,
}
"""The fields that can be changed for each service. A rail has all of them."""


def overridden(profiles: Mapping[str, Profile], text: str, rails: Sequence[str]) -> Mapping[str, Profile]:
    """Return the profiles with other numbers: `service.part.field=value`, several with commas or on lines.

    A service is `payment_provider` (all rails), a rail, one operation of a rail (`mtn_momo:status`), `fraud`,
    `database`, `webhook` or `valkey`; the narrower one wins. Fields are those of Retry and BreakerSettings,
    and `total_timeout`; `off` takes a rule away. `rails`: the ids of the rails that can be named. Raises
    ValueError that names what cannot be used and what was expected.
    """
    services = {_PROVIDERS: _SERVICES[_PROVIDERS], **dict.fromkeys(rails, tuple(_FIELDS)), **_SERVICES}
    written: dict[str, dict[str, Any]] = {}
    for part in filter(None, (part.strip() for part in text.replace("\n", ",").split(","))):
        service, field, value = _read(part, services, rails)
        written.setdefault(service, {})[field] = value
    changed = dict(profiles)
    for service in sorted(written, key=_narrowness):
        try:
            key = _key(service, rails)
            changed[key] = _changed(profile_of(changed, key), written[service])
        except ValueError as error:
            raise ValueError(f"{service}: {error}") from error
    return changed


def _read(part: str, services: Mapping[str, Sequence[str]], rails: Sequence[str]) -> tuple[str, str, Any]:
    place, equals, value = (word.strip() for word in part.partition("="))
    service, dot, field = place.partition(".")
    if not equals or not dot:
        raise ValueError(f"{part!r} is not a valid change; expected service.part.field=value")
    kind, colon, operation = service.partition(":")
    if kind not in services:
        raise ValueError(f"{part!r}: unknown service {kind!r}{_known(kind, services)}")
    if colon and (kind not in rails or operation not in OPERATIONS):
        known = _known(operation, OPERATIONS) if kind in rails else "; only rails have operations"
        raise ValueError(f"{part!r}: unknown operation {operation!r}{known}")
    if field not in services[kind]:
        raise ValueError(f"{part!r}: {kind} has no {field!r}{_known(field, services[kind])}")
    try:
        found = msgspec.convert(None if value == "off" else value, _FIELDS[field], strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(f"{part!r}: {error}") from None
    if isinstance(found, float) and not isfinite(found):
        raise ValueError(f"{part!r}: expected a finite number")
    return service, field, found


def _known(word: str, words: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, words, n=1)
    return f"; did you mean {near[0]}?" if near else f"; expected one of {', '.join(words)}"


def _narrowness(service: str) -> int:
    return 0 if service == _PROVIDERS else 2 if ":" in service else 1


def _key(service: str, rails: Sequence[str]) -> str:
    """Return the name in the toolkit's registry. A rail's bare name means its collect breaker there."""
    if service == _PROVIDERS:
        return "*"
    return f"{service}:*" if service in rails else service


def _changed(profile: Profile, values: Mapping[str, Any]) -> Profile:
    for part in _PARTS:
        own = {name.partition(".")[2]: value for name, value in values.items() if name.startswith(f"{part}.")}
        profile = replace(profile, **{part: replace(getattr(profile, part), **own)})
    return replace(profile, total_timeout=values.get("total_timeout", profile.total_timeout))
