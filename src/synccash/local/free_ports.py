"""Finds free ports for programs that are about to start."""

import contextlib
import random
import socket
from pathlib import Path

SANDBOX_PORTS = 8
"""The number of consecutive ports for a sandbox: its own and one for each rail."""

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_PORT_MIN = 10_000
_PORT_MAX = 65_535


def free_run_of_ports(count: int) -> int:
    """Returns the first of `count` consecutive ports that are all free now.

    The ports lie outside the ephemeral range, from which the kernel takes ports for outgoing connections
    (Linux: ip(7)), since any other program could take one of those between this check and its use.
    """
    first, last = _usable_range()
    while True:
        start = random.randint(first, last - count)  # noqa: S311 - only to keep two programs apart
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(start, start + count):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return start


def _usable_range() -> tuple[int, int]:
    """Returns the larger of the two port ranges outside the ephemeral range."""
    try:
        lowest, highest = map(int, _EPHEMERAL.read_text(encoding="ascii").split())
    except (OSError, ValueError):
        return _PORT_MIN, 32_767
    pieces = [(_PORT_MIN, lowest - 1), (highest + 1, _PORT_MAX)]
    first, last = max(pieces, key=lambda piece: piece[1] - piece[0])
    return (first, last) if last - first > 100 else (_PORT_MIN, _PORT_MAX)
