"""pawaPay's Merchant API v2 as it is on the wire: deposits, payouts, refunds, and its other endpoints.

Sources: docs.pawapay.io v2 (operations, "Failure codes", "Sandbox test numbers"). What is published nowhere
is our choice, and the code says so there.
"""

from synccash.sandbox.pawapay.wire import Pawapay

__all__ = ["Pawapay"]
