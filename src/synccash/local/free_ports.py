"""Ports for programs that are started in a moment."""

import contextlib
import random
import socket
from pathlib import Path

SANDBOX_PORTS = 8
"""Enough neighbours for a sandbox: its own port and one for each rail."""

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FIRST_OF_ALL = 10_000
_LAST_OF_ALL = 65_535


def free_run_of_ports(count: int) -> int:
    """The first of `count` neighbouring ports that are all free now.

    They lie outside the range from which the kernel takes ports for outgoing connections (Linux: ip(7)),
    since any busy neighbour could take one of those between this look and its use.
    """
    first, last = _range()
    while True:
        start = random.randint(first, last - count)  # noqa: S311 - only to keep two programs apart
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(start, start + count):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return start


def _range() -> tuple[int, int]:
    """The larger of the two pieces that outgoing connections leave."""
    try:
        lowest, highest = map(int, _EPHEMERAL.read_text(encoding="ascii").split())
    except (OSError, ValueError):
        return _FIRST_OF_ALL, 32_767
    pieces = [(_FIRST_OF_ALL, lowest - 1), (highest + 1, _LAST_OF_ALL)]
    first, last = max(pieces, key=lambda piece: piece[1] - piece[0])
    return (first, last) if last - first > 100 else (_FIRST_OF_ALL, _LAST_OF_ALL)
