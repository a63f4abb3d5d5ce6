"""Hubtel's Sales API (receive money, send money, status) as it is on the wire, all four hosts on one port.

Sources: Hubtel's "Direct Receive Money" and "Direct Send Money" pages. What is published nowhere is our
choice, and the code says so there.
"""

from synccash.sandbox.hubtel.wire import Hubtel

__all__ = ["Hubtel"]
