"""The formats of the rails' statements: column names, and the words in the columns.

Each rail registers its layout. Only pawaPay documents the columns of its export (docs.pawapay.io,
"Statements"). The columns of the others come from published examples of their exports and from their
APIs. The command line accepts other names.
"""

import re
from dataclasses import dataclass, field

_SIGNS = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementLayout:
    """The columns of a statement: the normalized names that each may have, the likeliest first.

    `direction`: the column of a word that says which way the money moved. `incoming` and `outgoing` are the
    rail's own words, besides INCOMING and OUTGOING; NOT_PAYMENTS are rows such as fees. A negative amount is
    always outgoing. A file without this column is outgoing where it has one of the columns `outgoing_files`.
    `status`: the column of a word that says whether the money moved (SETTLED) or did not (UNSETTLED).
    `credit`, `debit`: the columns of incoming and outgoing amounts.
    """

    reference: tuple[str, ...] = ()
    provider_id: tuple[str, ...] = ()
    amount: tuple[str, ...] = ("amount",)
    credit: tuple[str, ...] = ("credit", "paidin", "moneyin")
    debit: tuple[str, ...] = ("debit", "paidout", "moneyout", "withdrawn")
    direction: tuple[str, ...] = ("direction", "type", "transactiontype")
    status: tuple[str, ...] = ("status", "transactionstatus")
    time: tuple[str, ...] = ("date", "createdat", "creationdate", "transactiondate", "time")
    currency: tuple[str, ...] = ("currency", "currencycode")
    outgoing_files: tuple[str, ...] = ()
    incoming: frozenset[str] = field(default=frozenset())
    outgoing: frozenset[str] = field(default=frozenset())


COLUMNS = ("reference", "provider_id", "amount", "credit", "debit", "direction", "status", "time", "currency")
"""The columns that can be set on the command line."""

INCOMING = frozenset({"in", "incoming", "credit", "received", "collection", "collect", "deposit"})
OUTGOING = frozenset(
    {
        "out",
        "outgoing",
        "debit",
        "sent",
        "payout",
        "refund",
        "disbursement",
        "transfer",
        "reversal",
        "withdrawal",
    }
)
NOT_PAYMENTS = frozenset(
    {"fee", "fees", "charge", "charges", "commission", "tax", "levy", "topup", "settlement", "adjustment"}
)
SETTLED = frozenset(
    {
        "success",
        "successful",
        "succeeded",
        "completed",
        "complete",
        "paid",
        "processed",
        "settled",
        "approved",
    }
)
UNSETTLED = frozenset(
    {
        "failed", "failure", "pending", "processing", "queued", "ongoing", "abandoned", "rejected", "expired",
        "cancelled", "canceled", "declined", "unpaid", "initiated", "created", "timeout", "inreconciliation",
    }
)  # fmt: skip


def normalized(name: str) -> str:
    """Return a column name, or a word in a column, in the form for comparison: lower case, without spaces and
    signs."""
    return _SIGNS.sub("", name.lower())
