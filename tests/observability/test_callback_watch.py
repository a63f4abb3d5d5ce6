"""The watch of callbacks: which rails are reported, and what is logged."""

from dataclasses import dataclass, field, replace

from structlog.testing import capture_logs

from engine.scripted import ScriptedRail
from synccash.engine.system import SystemClock
from synccash.observability.callback_watch import ENDS, CallbackWatch
from synccash.payments.errors import StoreUnavailableError
from synccash.payments.rail import CallbackAddress


@dataclass
class Ends:
    """Counts as a test sets them."""

    counts: dict[str, int] = field(default_factory=dict)
    away: bool = False

    async def without_callback(self, rail: str, ends: int) -> int:
        if self.away:
            raise StoreUnavailableError("away")
        return min(ends, self.counts.get(rail, 0))


@dataclass
class Rail:
    capabilities: object


def rail(address=CallbackAddress.PER_REQUEST):
    return Rail(replace(ScriptedRail("any").capabilities, callback_address=address))


async def test_a_rail_is_reported_while_its_latest_ends_all_lack_a_callback():
    ends = Ends({"mtn_momo": ENDS, "hubtel": ENDS - 1})
    watch = CallbackWatch({"mtn_momo": rail(), "hubtel": rail()}, ends, SystemClock())
    with capture_logs() as logs:
        await watch.read()
        await watch.read()
        assert watch.silent_rails() == (("mtn_momo", ENDS),)
        ends.counts["mtn_momo"] = 0
        await watch.read()
    assert watch.silent_rails() == ()
    assert [(one["event"], one["rail"]) for one in logs] == [
        ("callbacks_missing", "mtn_momo"),
        ("callbacks_back", "mtn_momo"),
    ]


async def test_a_rail_that_sends_no_callbacks_is_not_watched():
    watch = CallbackWatch({"other": rail(CallbackAddress.NONE)}, Ends({"other": ENDS}), SystemClock())
    await watch.read()
    assert watch.silent_rails() == ()


async def test_nothing_is_reported_while_postgresql_is_away():
    ends = Ends({"mtn_momo": ENDS})
    watch = CallbackWatch({"mtn_momo": rail()}, ends, SystemClock())
    await watch.read()
    ends.away = True
    await watch.read()
    assert watch.silent_rails() == ()
