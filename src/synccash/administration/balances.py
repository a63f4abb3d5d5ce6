"""Merchants' balances: lists and checks them, grants credit, and confirms the credit of an upgrade.

Shared by the API and by commands with database credentials. The `note` of a change is written to the
audit log in its transaction.
"""

import secrets
from collections.abc import Sequence
from typing import Any

from synccash.payments.audit import AuditNote
from synccash.payments.balance import (
    CREDIT_MAX,
    BalanceAccount,
    balance_document,
    credit_source,
)
from synccash.payments.errors import ObjectNotFoundError, StateConflictError
from synccash.stores.postgres.balances import PostgresBalances, UnconfirmedCredit
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.operations.merchants import PostgresKeys

_TEXT_MAX = 200
CURRENCY = "GHS"


async def list_balances(database: Database, merchant_id: str | None) -> Sequence[dict[str, Any]]:
    """Returns all balances that have entries, or those of one merchant. Raises ObjectNotFoundError."""
    if merchant_id is not None:
        await require_merchant(database, merchant_id)
    return [balance_document(found) for found in await PostgresBalances(database).balances(merchant_id)]


async def check_balances(database: Database, merchant_id: str | None) -> Sequence[dict[str, Any]]:
    """Returns the differences between balances and the orders in the database, of all merchants or of one.

    Returns an empty list if all agree. Reads all orders. Raises ObjectNotFoundError.
    """
    if merchant_id is not None:
        await require_merchant(database, merchant_id)
    return [
        {
            "merchant_id": one.account.merchant_id,
            "livemode": one.account.livemode,
            "currency": one.account.currency,
            "kind": one.kind,
            "source": one.source,
            "expected": one.expected,
            "found": one.found,
        }
        for one in await PostgresBalances(database).differences(merchant_id)
    ]


async def grant_credit(
    database: Database,
    account: BalanceAccount,
    amount: int,
    *,
    key: str | None,
    note: AuditNote | None = None,
) -> dict[str, Any]:
    """Grants a credit of `amount` pesewas and returns the balance; a negative amount takes credit back.

    A repeat with the same `key` grants nothing more. Raises ObjectNotFoundError and StateConflictError.
    """
    await require_merchant(database, account.merchant_id)
    source = credit_source("credit", account, secrets.token_hex(12) if key is None else key)
    balances = PostgresBalances(database)
    granted, is_new = await balances.grant(account, amount, source, note=note)
    if granted != amount:
        raise StateConflictError(
            f"the key {key} was already used for a credit of {granted} pesewas: use another key"
        )
    balance = await balances.balance(account)
    return {**balance_document(balance), "granted": amount if is_new else 0}


async def unconfirmed_credit(database: Database, account: BalanceAccount) -> UnconfirmedCredit:
    """Returns the credit that a migration granted and that is not confirmed. Raises StateConflictError."""
    for one in await PostgresBalances(database).unconfirmed():
        if one.account == account:
            return one
    raise _no_unconfirmed(account)


async def confirm_credit(
    database: Database, account: BalanceAccount, amount: int, *, note: AuditNote | None = None
) -> dict[str, Any]:
    """Replaces the credit that a migration granted by one of `amount` pesewas, and returns the balance.

    Raises StateConflictError.
    """
    balances = PostgresBalances(database)
    if not await balances.confirm(await unconfirmed_credit(database, account), amount, note=note):
        raise _no_unconfirmed(account)
    return balance_document(await balances.balance(account))


def _no_unconfirmed(account: BalanceAccount) -> StateConflictError:
    return StateConflictError(
        f"{account} has no unconfirmed credit. To change its credit: synccash balances credit"
    )


async def require_merchant(database: Database, merchant_id: str) -> None:
    """Raises ObjectNotFoundError if the merchant does not exist."""
    if merchant_id not in {one["id"] for one in await PostgresKeys(database).merchants()}:
        raise ObjectNotFoundError("merchant", merchant_id)


def credit_errors(account: BalanceAccount, amount: int, reason: str, key: str | None) -> list[str]:
    """Returns what is wrong with a credit, as texts that begin with the option or field."""
    errors = _errors(account, reason)
    if amount == 0 or abs(amount) > CREDIT_MAX:
        errors.insert(0, f"AMOUNT: expected 1 to {CREDIT_MAX} pesewas, or -1 to -{CREDIT_MAX}")
    if key is not None and not _is_text(key):
        errors.append(f"--key: expected 1 to {_TEXT_MAX} printable characters")
    return errors


def confirmation_errors(account: BalanceAccount, amount: int, reason: str) -> list[str]:
    """Returns what is wrong with a confirmation, as texts that begin with the option."""
    errors = _errors(account, reason)
    if not 0 <= amount <= CREDIT_MAX:
        errors.append(f"--credit: expected pesewas from 0 to {CREDIT_MAX}")
    return errors


def _errors(account: BalanceAccount, reason: str) -> list[str]:
    errors: list[str] = []
    if account.currency != CURRENCY:
        errors.append(f"--currency: expected {CURRENCY}, the only currency of balances")
    if not _is_text(reason):
        errors.append(f"--reason: expected 1 to {_TEXT_MAX} printable characters")
    return errors


def _is_text(text: str) -> bool:
    return 0 < len(text.strip()) <= _TEXT_MAX and text.isprintable()
