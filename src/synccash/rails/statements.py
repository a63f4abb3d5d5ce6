"""The formats of the rails' statements: column names, and the words in the columns.

Only pawaPay publishes the columns of its export (docs.pawapay.io, "Statements"). The others are read by the
names of their exports as they were seen in public, and by those of their APIs; what an export calls
otherwise is named on the command line.
"""

import re
from collections.abc import Mapping
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

LAYOUTS: Mapping[str, Layout] = {
    "mtn_momo": Layout(
        # We write our reference into externalId: the statement does not know X-Reference-Id.
        reference=("externalid", "externaltransactionid", "xreferenceid", "referenceid", "reference"),
        provider_id=("id", "transactionid", "financialtransactionid"),
        # Seen from our account, a request to pay is a debit of the payer's.
        incoming=frozenset({"debit", "payment", "externalpayment", "requesttopay", "cashin"}),
        outgoing=frozenset({"externaltransfer", "batchtransfer", "floattransfer", "deposit", "cashout"}),
    ),
    "paystack": Layout(
        # A refund's own reference is in its note; its column `reference` is the one of the charge.
        reference=("merchantnote", "reference", "transactionreference", "transferreference"),
        provider_id=("refundid", "transfercode", "transactionid", "id"),
        amount=("amount", "amountpaid", "amountghs", "refundamount"),
        time=("transactiondate", "paidat", "createdat", "date", "refundedat", "datecreated"),
        outgoing_files=("transfercode", "recipient", "refundid", "merchantnote", "refundedby"),
        incoming=frozenset({"charge", "transaction", "payment"}),
    ),
    "hubtel": Layout(
        reference=("clientreference", "clientref", "merchantreference", "reference"),
        provider_id=("transactionid", "hubteltransactionid", "orderid", "id"),
        amount=("amount", "transactionamount", "amountghs"),
        direction=("transactiontype", "type", "direction"),
        outgoing_files=("recipientmsisdn", "recipientname", "recipient"),
        incoming=frozenset({"receivemoney", "received", "sale", "payment"}),
        outgoing=frozenset({"sendmoney"}),
    ),
    "pawapay": Layout(
        # What pawaPay calls the id of a transaction is the one that we gave it.
        reference=("transactionid", "depositid", "payoutid", "refundid"),
        provider_id=("providertransactionid", "correspondentid", "mnotransactionid"),
        time=("creationdate", "created", "createdat", "date"),
        outgoing_files=("payoutid", "refundid"),
    ),
}


def bare(name: str) -> str:
    """A column's name, or a word in it, as it is compared: without case, blanks and signs."""
    return _SIGNS.sub("", name.lower())
