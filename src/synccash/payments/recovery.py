"""Recovery state: a restored backup or a lossy fail-over may have removed commits from the database."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Recovery:
    """`epoch` counts the recoveries that have begun. While one is `active` nothing is sent for any order.

    `name` is unique to the latest recovery, and `epoch` is not: a second backup may be older than the first
    recovery, so that its count repeats.
    """

    epoch: int
    active: bool
    name: str = field(default="", compare=False)


NO_RECOVERY = Recovery(epoch=0, active=False)
