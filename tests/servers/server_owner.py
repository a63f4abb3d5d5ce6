"""Owns bundled servers: prints what it has as one line of JSON, stops at the end of its input."""

import json
import sys
from pathlib import Path

from synccash.servers.bundle import start_servers

if __name__ == "__main__":
    with start_servers(Path(sys.argv[1])) as servers:
        shown = {
            "database_url": servers.database_url,
            "valkey_url": servers.valkey_url,
            "processes": servers.processes,
            "home": str(servers.home),
        }
        print(json.dumps(shown), flush=True)
        sys.stdin.read()
