"""Runs the `synccash` command line: `python -m synccash`."""

from synccash.cli import main

main()
