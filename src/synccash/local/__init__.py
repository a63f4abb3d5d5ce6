"""Runs an installation on one machine: `synccash up`, its supervisor, the demo, and sandbox accounts."""
