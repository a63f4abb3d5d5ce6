"""The float of each rail's account: what it last reported, and what it refused to pay since.

The float is what an account can pay out. It is known in process and never stored: the rail's own refusal
decides, and knowing the float only spares it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from synccash.payments.payer import Network

_STALE_POLLS = 3
"""A reading that is older than so many polls is not gone by any more."""


@dataclass(frozen=True, slots=True)
class FloatReading:
    """What a rail reported at the monotonic time `at`: pesewas by network, None for all other networks."""

    available: Mapping[Network | None, int]
    at: float
    read_at: datetime

    def least(self) -> int:
        """The smallest balance: an alarm goes by it."""
        return min(self.available.values())


@dataclass(slots=True)
class _State:
    """What is known of one rail. `refusals`: the smallest amount that it refused for lack of float, and when,
    by network; `spent`: what this process has sent out since the reading began."""

    reading: FloatReading | None = None
    error: str | None = None
    refusals: dict[Network | None, tuple[int, float]] = field(
        default_factory=dict[Network | None, tuple[int, float]]
    )
    spent: dict[Network | None, int] = field(default_factory=dict[Network | None, int])


@dataclass(slots=True)
class RailFloats:
    """Live: one per process. `alarms`: below how many pesewas a rail's float is too low, by rail."""

    now: Callable[[], float]
    poll_s: float = 60.0
    alarms: Mapping[str, int] = field(default_factory=dict[str, int])
    _states: dict[str, _State] = field(default_factory=dict[str, _State])

    def reported(self, rail: str, reading: FloatReading) -> None:
        """Take a reading: it replaces what was known before."""
        self._states[rail] = _State(reading)

    def failed(self, rail: str, reason: str) -> None:
        """A reading failed: the former one is gone by until it is stale."""
        self._states.setdefault(rail, _State()).error = reason

    def refused(self, rail: str, network: Network | None, amount: int) -> None:
        """The rail refused an amount for lack of float: this much is not tried again before the next poll."""
        refusals = self._states.setdefault(rail, _State()).refusals
        known, _ = refusals.get(network, (amount, 0.0))
        refusals[network] = (min(known, amount), self.now())

    def sent(self, rail: str, network: Network | None, amount: int) -> None:
        """An amount has left, or may have."""
        state = self._states.setdefault(rail, _State())
        wallet = self._wallet(state, network)
        state.spent[wallet] = state.spent.get(wallet, 0) + amount

    def short_for_s(self, rail: str, network: Network | None, amount: int) -> float | None:
        """For how long the rail is known not to be able to pay the amount; None where it may be.

        What is not known, or not any more, is left to the rail.
        """
        state = self._states.get(rail)
        if state is None:
            return None
        now = self.now()
        smallest, at = state.refusals.get(network, (0, 0.0))
        if smallest and amount >= smallest and now - at < self.poll_s:
            return at + self.poll_s - now
        reading = state.reading
        if reading is None or now - reading.at >= _STALE_POLLS * self.poll_s:
            return None
        wallet = self._wallet(state, network)
        if wallet not in reading.available:
            return None
        if amount <= reading.available[wallet] - state.spent.get(wallet, 0):
            return None
        # A poll that is late comes soon.
        return max(reading.at + self.poll_s - now, min(1.0, self.poll_s))

    def is_low(self, rail: str) -> bool:
        """True where the latest reading is below the rail's alarm level."""
        state = self._states.get(rail)
        alarm = self.alarms.get(rail)
        return (
            state is not None
            and state.reading is not None
            and alarm is not None
            and (state.reading.least() < alarm)
        )

    def shown(self, rail: str) -> dict[str, Any]:
        """What is known of one rail, for people: pesewas, and the age of the reading in seconds."""
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

    def _wallet(self, state: _State, network: Network | None) -> Network | None:
        """The wallet that pays for a network: its own where the rail has one for it."""
        is_own = state.reading is not None and network in state.reading.available
        return network if is_own else None
