"""Whether the ledger may lack commits: after a restored backup, or a fail-over that lost some."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recovery:
    """`epoch` counts the recoveries that have begun. While one is `active` nothing is sent for any order."""

    epoch: int
    active: bool


NO_RECOVERY = Recovery(epoch=0, active=False)
