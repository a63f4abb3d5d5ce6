"""Merchants' balances: lists and checks them, grants credit, and confirms the credit of an upgrade.

Reads and writes PostgreSQL directly; no service has to run.
"""

import secrets
from collections.abc import Sequence
from typing import Any

from synccash.administration.database import with_database, write_audit_entry
from synccash.administration.errors import AdministrationError
from synccash.payments.balance import CREDIT_MAX, Balance, BalanceAccount, balance_document, credit_source
from synccash.settings.loader import Settings
from synccash.stores.postgres.balances import BalanceDifference, PostgresBalances
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.merchants import PostgresKeys

_TEXT_MAX = 200
CURRENCY = "GHS"


def list_balances(settings: Settings, merchant_id: str | None) -> Sequence[dict[str, Any]]:
    """Returns all balances that have entries, or those of one merchant. Raises AdministrationError."""

    async def read(database: Database) -> Sequence[Balance]:
        if merchant_id is not None:
            await require_merchant(database, merchant_id)
        return await PostgresBalances(database).balances(merchant_id)

    return [balance_document(found) for found in with_database(settings, read)]


def check_balances(settings: Settings, merchant_id: str | None) -> Sequence[dict[str, Any]]:
    """Returns the differences between balances and the orders in the database, of all merchants or of one.

    Returns an empty list if all agree. Raises AdministrationError.
    """

    async def compare(database: Database) -> Sequence[BalanceDifference]:
        if merchant_id is not None:
            await require_merchant(database, merchant_id)
        return await PostgresBalances(database).differences(merchant_id)

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
        for one in with_database(settings, compare)
    ]


def grant_credit(
    settings: Settings, account: BalanceAccount, amount: int, *, reason: str, key: str | None
) -> dict[str, Any]:
    """Grants a credit of `amount` pesewas and returns the balance; a negative amount takes credit back.

    A repeat with the same `key` grants nothing more. Raises AdministrationError.
    """
    _check_currency(account)
    if amount == 0 or abs(amount) > CREDIT_MAX:
        raise AdministrationError(f"AMOUNT: expected 1 to {CREDIT_MAX} pesewas, or -1 to -{CREDIT_MAX}")
    _check_text("--reason", reason)
    if key is not None:
        _check_text("--key", key)
    source = credit_source("credit", account, secrets.token_hex(12) if key is None else key)

    async def grant(database: Database) -> tuple[Balance, bool]:
        await require_merchant(database, account.merchant_id)
        await write_audit_entry(database, "balance_credit", f"{account} {amount}", reason)
        balances = PostgresBalances(database)
        granted, is_new = await balances.grant(account, amount, source)
        if granted != amount:
            raise AdministrationError(
                f"--key {key} was already used for a credit of {granted} pesewas: use another key"
            )
        return await balances.balance(account), is_new

    balance, is_new = with_database(settings, grant)
    return {**balance_document(balance), "granted": amount if is_new else 0}


def confirm_credit(
    settings: Settings, account: BalanceAccount, amount: int, *, reason: str
) -> dict[str, Any]:
    """Replaces the credit that a migration granted by one of `amount` pesewas, and returns the balance.

    Raises AdministrationError.
    """
    _check_currency(account)
    if not 0 <= amount <= CREDIT_MAX:
        raise AdministrationError(f"--credit: expected pesewas from 0 to {CREDIT_MAX}")
    _check_text("--reason", reason)

    async def confirm(database: Database) -> Balance:
        balances = PostgresBalances(database)
        found = [one for one in await balances.unconfirmed() if one.account == account]
        if found:
            await write_audit_entry(database, "balance_confirm", f"{account} {amount}", reason)
        if not found or not await balances.confirm(found[0], amount):
            raise AdministrationError(
                f"{account} has no unconfirmed credit. To change its credit: synccash balances credit"
            )
        return await balances.balance(account)

    return balance_document(with_database(settings, confirm))


async def require_merchant(database: Database, merchant_id: str) -> None:
    """Raises AdministrationError if the merchant does not exist."""
    if merchant_id not in {one["id"] for one in await PostgresKeys(database).merchants()}:
        raise AdministrationError(
            f"No merchant has the id {merchant_id}. List them with: synccash merchants list"
        )


def _check_currency(account: BalanceAccount) -> None:
    if account.currency != CURRENCY:
        raise AdministrationError(f"--currency: expected {CURRENCY}, the only currency of balances")


def _check_text(option: str, text: str) -> None:
    if not 0 < len(text.strip()) <= _TEXT_MAX or not text.isprintable():
        raise AdministrationError(f"{option}: expected 1 to {_TEXT_MAX} printable characters")
