"""Runs the sandbox: `python -m synccash.sandbox [--port 8100] [--data-dir DIR] [--seed N]`."""

import sys

from synccash.sandbox.server import main

sys.exit(main(sys.argv[1:]))
