"""Private implementation of the toolkit. Import from `synccash.resilience` and its modules instead."""
