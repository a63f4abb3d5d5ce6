"""The formats of the rails' statements: column names, and the words in the columns.

Each rail registers its layout. Only pawaPay publishes the columns of its export (docs.pawapay.io,
"Statements"). The others are read by the names of their exports as they were seen in public, and by those of
their APIs; the command line takes the names of any other export.
"""

import re
from dataclasses import dataclass, field

_SIGNS = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The columns of a statement, each by the names it may have, the likeliest first; see `bare`.

    `direction` is a column of words: `incoming` and `outgoing` say which, `ASIDE` what is no payment, such as
    a fee. A negative amount is always outgoing. Without such a column a file is outgoing where it has one of
    the columns `outgoing_files`. `status` is a column of words too: only `settled` ones moved money.
    `credit` and `debit` are amounts in columns of their own.
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
ASIDE = frozenset(
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


def bare(name: str) -> str:
    """A column's name, or a word in it, as it is compared: without case, blanks and signs."""
    return _SIGNS.sub("", name.lower())
