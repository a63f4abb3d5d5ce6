"""Asks each rail one harmless question: the status of a reference that was never sent."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Protocol, runtime_checkable
from urllib.parse import urlsplit
from uuid import uuid4

from synccash.administration.maintenance.doctor.readings import ClockReading, RailReading
from synccash.payments.rail import FloatAnswer, Operation, RailAccount
from synccash.rails.http.transport import Exchange, Transport, TransportFailure
from synccash.rails.pacer import Clock, one_process
from synccash.rails.registry import RAILS
from synccash.settings.loader import Settings, SettingsError
from synccash.settings.secret import Secret

_ASKED = (Operation.COLLECT, Operation.PAYOUT)
"""The operations whose credentials or addresses may differ; refunds use those of payouts."""
_TIMEOUT_S = 4.0
# A Date header has whole seconds, cut off.
_DATE_MIDDLE_S = _DATE_UNCERTAINTY_S = 0.5


@dataclass(frozen=True, slots=True)
class RailProbe:
    """What the rails answered, and what their Date headers say about this host's clock."""

    rails: Sequence[RailReading]
    clocks: Sequence[ClockReading]


@runtime_checkable
class _ReportsFloat(Protocol):
    async def read_float(self, account: RailAccount, *, timeout_s: float) -> FloatAnswer: ...


@dataclass(frozen=True, slots=True)
class _Observed:
    host: str
    answer: Exchange | TransportFailure
    began: float
    ended: float


class _ObservingTransport(Transport):
    """A Transport that remembers each answer, with the times of this host's clock around it."""

    def __init__(self) -> None:
        super().__init__()
        self.observed: list[_Observed] = []

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str | Secret],
        timeout_s: float,
        connect_timeout_s: float = 2.0,
        json: object = None,
        data: bytes | None = None,
    ) -> Exchange | TransportFailure:
        """Send one request, and remember its answer."""
        began = time.time()
        answer = await super().request(
            method,
            url,
            headers=headers,
            timeout_s=timeout_s,
            connect_timeout_s=connect_timeout_s,
            json=json,
            data=data,
        )
        self.observed.append(_Observed(urlsplit(url).hostname or "", answer, began, time.time()))
        return answer


async def probe_rails(settings: Settings, clock: Clock) -> RailProbe:
    """Ask all configured rails at the same time. Moves no money, and sends no order."""
    found = await asyncio.gather(
        *(_probe(name, operation, settings, clock) for name in RAILS for operation in _ASKED)
    )
    asked = [one for one in found if one is not None]
    clocks = {reading.source: reading for _, readings in asked for reading in readings}
    return RailProbe([reading for reading, _ in asked], list(clocks.values()))


async def _probe(
    name: str, operation: Operation, settings: Settings, clock: Clock
) -> tuple[RailReading, list[ClockReading]] | None:
    transport = _ObservingTransport()
    try:
        connector = RAILS[name].build(settings, transport, clock, one_process)
    except SettingsError:
        return None  # the check of the settings reports it
    if connector is None or operation not in connector.capabilities.operations:
        return None
    try:
        answer = await connector.inquire(connector.account, operation, str(uuid4()), timeout_s=_TIMEOUT_S)
        last = transport.observed[-1] if transport.observed else None
        balance: FloatAnswer | None = None
        if operation is Operation.PAYOUT and isinstance(connector, _ReportsFloat):
            balance = await connector.read_float(connector.account, timeout_s=_TIMEOUT_S)
    finally:
        await transport.aclose()
    facts: dict[str, Any] = {}
    match last.answer if last is not None else None:
        case Exchange(status=status):
            facts["http_status"] = status
        case TransportFailure(fault=fault):
            facts["fault"] = fault
        case None:
            pass
    reading = RailReading(
        rail=name,
        operation=operation,
        host=last.host if last is not None else "",
        status=answer.status_at_rail,
        code=answer.provider_code,
        float_answer=balance,
        **facts,
    )
    return reading, [clock_of for one in transport.observed if (clock_of := _clock(one)) is not None]


def _clock(observed: _Observed) -> ClockReading | None:
    """Compare this host's clock with the Date header of an answer."""
    if not isinstance(observed.answer, Exchange):
        return None
    try:
        date = parsedate_to_datetime(observed.answer.headers.get("Date", ""))
    except (TypeError, ValueError):
        return None
    theirs = date.replace(tzinfo=date.tzinfo or UTC).timestamp() + _DATE_MIDDLE_S
    return ClockReading(
        source=observed.host,
        offset_s=theirs - (observed.began + observed.ended) / 2,
        uncertainty_s=_DATE_UNCERTAINTY_S + (observed.ended - observed.began) / 2,
    )
