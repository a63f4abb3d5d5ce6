"""Tracks the float of each rail's account, which is the amount that it can pay out: the latest reading, and
what the rail refused or paid since.

The state is in memory and never stored. The rail's own refusal decides; the tracked float only avoids sends
that would be refused.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from synccash.payments.payer import Network

_STALE_POLLS = 3
"""A reading that is older than this many poll intervals is not used any more."""


@dataclass(frozen=True, slots=True)
class FloatReading:
    """The float that a rail reported at the monotonic time `at`: pesewas by network; the key None stands for
    all other networks."""

    available: Mapping[Network | None, int]
    at: float
    read_at: datetime

    def smallest(self) -> int:
        """Return the smallest balance, which the alarm uses."""
        return min(self.available.values())


_Sums = dict[Network | None, int]


@dataclass(frozen=True, slots=True)
class _Refusal:
    """An amount that the rail refused for lack of float at the monotonic time `at`."""

    amount: int
    at: float


@dataclass(slots=True)
class _State:
    """The float state of one rail.

    `refusals` by network: each later one is of a larger amount. `spent`: what this process has sent since the
    reading began, by network. `spent_meanwhile`: what it has sent since the latest reading began that is
    still unanswered.
    """

    reading: FloatReading | None = None
    error: str | None = None
    refusals: dict[Network | None, list[_Refusal]] = field(
        default_factory=dict[Network | None, list[_Refusal]]
    )
    spent: _Sums = field(default_factory=_Sums)
    spent_meanwhile: _Sums = field(default_factory=_Sums)


@dataclass(slots=True)
class RailFloats:
    """Holds the last known float of each rail. One per process.

    `alarms`: by rail, the pesewas below which its float counts as low.
    """

    now: Callable[[], float]
    poll_s: float = 60.0
    alarms: Mapping[str, int] = field(default_factory=dict[str, int])
    _states: dict[str, _State] = field(default_factory=dict[str, _State])

    def reading_began(self, rail: str) -> None:
        """Note that the rail is being asked: its answer may not include what is sent from now on."""
        self._states.setdefault(rail, _State()).spent_meanwhile = {}

    def reported(self, rail: str, reading: FloatReading) -> None:
        """Store a reading. It replaces everything that was known before it began."""
        before = self._states.get(rail, _State())
        refusals = {
            network: kept
            for network, known in before.refusals.items()
            if (kept := [one for one in known if one.at > reading.at])
        }
        self._states[rail] = _State(reading, refusals=refusals, spent=before.spent_meanwhile)

    def failed(self, rail: str, reason: str) -> None:
        """Note that a reading failed. The former one is used until it is stale."""
        self._states.setdefault(rail, _State()).error = reason

    def refused(self, rail: str, network: Network | None, amount: int) -> None:
        """Note that the rail refused an amount for lack of float. That much is not tried again for one poll
        interval."""
        now = self.now()
        refusals = self._states.setdefault(rail, _State()).refusals
        known = [one for one in refusals.get(network, ()) if one.amount < amount and self._holds(one, now)]
        refusals[network] = [*known, _Refusal(amount, now)]

    def sent(self, rail: str, network: Network | None, amount: int) -> None:
        """Note that an amount has left the float, or may have."""
        state = self._states.setdefault(rail, _State())
        for sums in (state.spent, state.spent_meanwhile):
            sums[network] = sums.get(network, 0) + amount

    def short_for_s(self, rail: str, network: Network | None, amount: int) -> float | None:
        """Return the seconds for which the rail is known to be unable to pay the amount; None when it may be
        able to, or when nothing recent is known: the rail then decides.
        """
        state = self._states.get(rail)
        if state is None:
            return None
        now = self.now()
        for one in reversed(state.refusals.get(network, ())):
            if amount >= one.amount and self._holds(one, now):
                return one.at + self.poll_s - now
        reading = state.reading
        if reading is None or now - reading.at >= _STALE_POLLS * self.poll_s:
            return None
        wallet = _wallet(reading, network)
        if wallet not in reading.available:
            return None
        spent = sum(
            amount_sent for name, amount_sent in state.spent.items() if _wallet(reading, name) == wallet
        )
        if amount <= reading.available[wallet] - spent:
            return None
        # An overdue poll is expected within a second.
        return max(reading.at + self.poll_s - now, min(1.0, self.poll_s))

    def _holds(self, refusal: _Refusal, now: float) -> bool:
        return now - refusal.at < self.poll_s

    def is_low(self, rail: str) -> bool:
        """True when the latest reading is below the rail's alarm level."""
        state = self._states.get(rail)
        alarm = self.alarms.get(rail)
        return (
            state is not None
            and state.reading is not None
            and alarm is not None
            and (state.reading.smallest() < alarm)
        )

    def shown(self, rail: str) -> dict[str, Any]:
        """Return the float of one rail for display: pesewas, and the age of the reading in seconds."""
        state = self._states.get(rail, _State())
        reading = state.reading
        available = None if reading is None else reading.available
        return {
            "rail": rail,
            "currency": "GHS",
            "float": None if available is None else available.get(None),
            "by_network": {
                network.value: amount for network, amount in (available or {}).items() if network is not None
            },
            "alarm_below": self.alarms.get(rail),
            "is_low": self.is_low(rail),
            "read_at": None if reading is None else reading.read_at.isoformat(timespec="seconds"),
            "age_s": None if reading is None else round(self.now() - reading.at, 1),
            "error": state.error,
        }


def _wallet(reading: FloatReading, network: Network | None) -> Network | None:
    """Return the wallet that pays for a network: the network's own when the rail has one, else the common
    one (None)."""
    return network if network in reading.available else None
