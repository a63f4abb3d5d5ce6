"""Hubtel's Sales API (receive money, send money, status) as it is on the wire, all four hosts on one port.

Sources: Hubtel's "Direct Receive Money" and "Direct Send Money" pages. What is published nowhere is our
choice, and said to be where it is made.
"""

from synccash.sandbox.hubtel.wire import Hubtel

__all__ = ["Hubtel"]
