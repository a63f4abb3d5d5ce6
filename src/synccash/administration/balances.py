"""Merchants' balances, in PostgreSQL directly: shows them, grants credit, confirms an upgrade's credit."""

import secrets
from collections.abc import Sequence
from typing import Any

from synccash.administration.database import noted, with_database
from synccash.administration.errors import AdministrationError
from synccash.payments.balance import CREDIT_MAX, Balance, BalanceAccount, balance_document, credit_source
from synccash.settings.loader import Settings
from synccash.stores.postgres.balances import BalanceDifference, PostgresBalances
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.merchants import PostgresKeys

_LONGEST = 200
CURRENCY = "GHS"


def list_balances(settings: Settings, merchant_id: str | None) -> Sequence[dict[str, Any]]:
    """All balances in which something has happened, or those of one merchant. Raises AdministrationError."""

    async def read(database: Database) -> Sequence[Balance]:
        if merchant_id is not None:
            await require_merchant(database, merchant_id)
        return await PostgresBalances(database).balances(merchant_id)

    return [balance_document(found) for found in with_database(settings, read)]


def check_balances(settings: Settings, merchant_id: str | None) -> Sequence[dict[str, Any]]:
    """Where balances are not what the orders in the database say, of all merchants or of one; empty where all
    agree. Raises AdministrationError."""

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
    """Grant a credit of `amount` pesewas and return the balance; a negative amount takes credit back.

    `key` makes a repeat change nothing. Raises AdministrationError.
    """
    _check_currency(account)
    if amount == 0 or abs(amount) > CREDIT_MAX:
        raise AdministrationError(f"AMOUNT: expected pesewas from 1 to {CREDIT_MAX}, or the same below 0")
    _check_text("--reason", reason)
    if key is not None:
        _check_text("--key", key)
    source = credit_source("credit", account, secrets.token_hex(12) if key is None else key)

    async def grant(database: Database) -> tuple[Balance, bool]:
        await require_merchant(database, account.merchant_id)
        await noted(database, "balance_credit", f"{account} {amount}", reason)
        balances = PostgresBalances(database)
        granted, is_new = await balances.grant(account, amount, source)
        if granted != amount:
            raise AdministrationError(f"--key {key} was used for a credit of {granted} pesewas")
        return await balances.balance(account), is_new

    balance, is_new = with_database(settings, grant)
    return {**balance_document(balance), "granted": amount if is_new else 0}


def confirm_credit(
    settings: Settings, account: BalanceAccount, amount: int, *, reason: str
) -> dict[str, Any]:
    """Replace the credit that a migration granted by one of `amount` pesewas, and return the balance.

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
            await noted(database, "balance_confirm", f"{account} {amount}", reason)
        if not found or not await balances.confirm(found[0], amount):
            raise AdministrationError(
                f"{account} has no credit that waits to be confirmed; `synccash balances credit` changes one"
            )
        return await balances.balance(account)

    return balance_document(with_database(settings, confirm))


async def require_merchant(database: Database, merchant_id: str) -> None:
    """Raises AdministrationError where there is no such merchant."""
    if merchant_id not in {one["id"] for one in await PostgresKeys(database).merchants()}:
        raise AdministrationError(f"there is no merchant {merchant_id}: see `synccash merchants list`")


def _check_currency(account: BalanceAccount) -> None:
    if account.currency != CURRENCY:
        raise AdministrationError(f"--currency: expected {CURRENCY}, the only one that balances are kept in")


def _check_text(option: str, text: str) -> None:
    if not 0 < len(text.strip()) <= _LONGEST or not text.isprintable():
        raise AdministrationError(f"{option}: expected 1 to {_LONGEST} printable characters")
