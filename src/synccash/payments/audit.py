"""What an entry of the audit log says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from synccash.payments.approval import Execution


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditNote:
    """One action for the audit log: who does what to what, and why.

    `actor` is `operator:NAME`, the id of a key, or `database:ROLE`. `merchant_id`: the merchant that it is
    about, if it is one. `details` holds neither secrets nor full numbers. `execution`: the approval that the
    action executes; it becomes `executed` in the transaction of the change.
    """

    actor: str
    action: str
    target: str
    reason: str = ""
    merchant_id: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])
    execution: Execution | None = None
