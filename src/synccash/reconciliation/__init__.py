"""A rail's statement against our attempts: read, matched, reported. The matcher itself is in `payments`."""
