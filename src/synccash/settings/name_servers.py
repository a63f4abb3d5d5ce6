"""Reads the setting that names the DNS servers of webhook delivery."""

import ipaddress


def read_name_servers(text: str) -> tuple[str, ...]:
    """Return the name servers of a setting: IP addresses, each with or without a port, separated by commas.

    Raises ValueError.
    """
    servers = tuple(part.strip() for part in text.split(",") if part.strip())
    for server in servers:
        address, port = server, "53"
        if server.startswith("["):
            address, _, rest = server[1:].partition("]")
            port = rest.removeprefix(":") or "53"
        elif server.count(":") == 1:
            address, port = server.split(":")
        try:
            ipaddress.ip_address(address)
            valid = port.isdigit() and 0 < int(port) < 65_536
        except ValueError:
            valid = False
        if not valid:
            raise ValueError(f"{server}: expected an IP address, or 192.0.2.1:53 or [2001:db8::1]:53")
    return servers
