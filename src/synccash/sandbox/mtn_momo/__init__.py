"""MTN MoMo's Open API (Collection and Disbursement) as it is on the wire.

Sources: MTN's developer portal (operations, "Common Error Codes", "Testing", "Callback", "Best practices"),
outputs recorded in MTN's public sandbox notebook, and public reports of measured answers. What is published
nowhere is our choice, and the code says so there.
"""

from synccash.sandbox.mtn_momo.wire import MtnMomo

__all__ = ["MtnMomo"]
