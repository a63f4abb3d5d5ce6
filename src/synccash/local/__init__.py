"""An installation on one machine: `synccash up`, the demo, sandbox accounts."""
