"""pawaPay's Merchant API v2 as it is on the wire: deposits, payouts, refunds, and the toolkit round them.

Sources: docs.pawapay.io v2 (operations, "Failure codes", "Sandbox test numbers"). What is published nowhere
is our choice, and said to be where it is made.
"""

from synccash.sandbox.pawapay.wire import Pawapay

__all__ = ["Pawapay"]
