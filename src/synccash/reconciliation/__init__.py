"""Reconciles a rail's statement with our attempts: reads, matches, reports. The matcher is in `payments`."""
