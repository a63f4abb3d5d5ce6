"""Paystack's API as it is on the wire: charges of mobile money in Ghana, refunds, transfers.

Sources: Paystack's documentation (Errors, Charge, Refunds, Transfers, Webhooks) and its open API description.
What is published nowhere is our choice, and the code says so there.
"""

from synccash.sandbox.paystack.wire import Paystack

__all__ = ["Paystack"]
