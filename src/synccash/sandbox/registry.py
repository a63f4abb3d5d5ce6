"""The simulated rails, in the order of their ports.

The sandbox has a list of its own because it must not import the connectors' registry. A test compares the
two: a new rail needs a line in both.
"""

from collections.abc import Callable
from random import Random

from synccash.sandbox.hubtel import Hubtel
from synccash.sandbox.mtn_momo import MtnMomo
from synccash.sandbox.pawapay import Pawapay
from synccash.sandbox.paystack import Paystack
from synccash.sandbox.wire import Wire

WIRES: dict[str, Callable[[Callable[[], float], Random], Wire]] = {
    MtnMomo.rail_id: MtnMomo,
    Paystack.rail_id: Paystack,
    Hubtel.rail_id: Hubtel,
    Pawapay.rail_id: Pawapay,
}
