"""Whether the ledger may lack commits: after a restored backup, or a fail-over that lost some."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Recovery:
    """`epoch` counts the recoveries that have begun. While one is `active` nothing is sent for any order.

    `name` is that of the latest recovery and no other's: a second backup may be older than the first
    recovery, and count it again.
    """

    epoch: int
    active: bool
    name: str = field(default="", compare=False)


NO_RECOVERY = Recovery(epoch=0, active=False)
