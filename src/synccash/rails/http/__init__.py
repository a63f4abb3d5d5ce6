"""How rails are called over HTTP: connections, pools, time limits, and what a failed call proves."""
