"""Free ports for programs that start shortly afterwards."""

import socket
from pathlib import Path

from synccash.local.free_ports import free_run_of_ports


def test_all_ports_of_a_run_can_be_taken() -> None:
    first = free_run_of_ports(8)
    sockets = [socket.create_server(("127.0.0.1", port)) for port in range(first, first + 8)]
    for one in sockets:
        one.close()


def test_no_outgoing_connection_takes_one_of_them() -> None:
    lowest, highest = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    run = range(first := free_run_of_ports(8), first + 8)
    assert not set(run) & set(range(lowest, highest + 1))
