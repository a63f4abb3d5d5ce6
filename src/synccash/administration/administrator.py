"""What the commands of operators call: the running service, or the database where break_glass is set."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

from synccash.administration.api import ManagementApi, management_api
from synccash.administration.audit import AuditLog
from synccash.administration.balances import (
    confirm_credit,
    grant_credit,
    list_balances,
)
from synccash.administration.database import BREAK_GLASS, break_glass_note, database_actor, with_database
from synccash.administration.errors import AdministrationError
from synccash.administration.service import Administration
from synccash.payments.api_key import NewApiKey
from synccash.payments.balance import BalanceAccount
from synccash.payments.errors import ObjectNotFoundError, OrderUnreadableError, RequestError
from synccash.payments.history import history_document
from synccash.settings.loader import Settings
from synccash.stores.postgres.database import Database
from synccash.stores.postgres.operations.operating import OrderFilter

T = TypeVar("T")
_PREFIX = f"{BREAK_GLASS}: "
_EXPORT_PAGE = 1_000


class Administrator(Protocol):
    """Every method raises AdministrationError. A document with `object` = `approval` means that a second
    operator has to approve the action."""

    def merchants(self) -> Sequence[dict[str, Any]]: ...
    def add_merchant(self, name: str) -> dict[str, Any]: ...
    def suspend_merchant(self, merchant_id: str, reason: str) -> dict[str, Any]: ...
    def resume_merchant(self, merchant_id: str, reason: str) -> dict[str, Any]: ...
    def keys(self) -> Sequence[dict[str, Any]]: ...
    def create_key(self, key: NewApiKey) -> dict[str, Any]: ...
    def rotate_key(self, key_id: str, overlap: timedelta) -> dict[str, Any]: ...
    def revoke_key(self, key_id: str) -> dict[str, Any]: ...
    def balances(self, merchant_id: str | None) -> Sequence[dict[str, Any]]: ...
    def grant_credit(
        self, account: BalanceAccount, amount: int, *, reason: str, key: str | None
    ) -> dict[str, Any]: ...
    def confirm_credit(self, account: BalanceAccount, amount: int, *, reason: str) -> dict[str, Any]: ...
    def orders(self, where: OrderFilter) -> dict[str, Any]: ...
    def waiting(self, limit: int) -> Sequence[dict[str, Any]]: ...
    def contradictions(self, limit: int) -> Sequence[dict[str, Any]]: ...
    def close_contradictions(self, order_id: str, reason: str) -> dict[str, Any]: ...
    def history(self, start: datetime, end: datetime, step: timedelta) -> dict[str, Any]: ...
    def order(self, order_id: str) -> dict[str, Any]: ...
    def audit_entries(self, limit: int, **filters: Any) -> dict[str, Any]: ...
    def audit_export(self, after: int) -> dict[str, Any]: ...


def administrator(settings: Settings, url: str | None = None) -> Administrator:
    """Returns the service's API as the signed-in operator, or the database if the setting break_glass is on.

    Raises AdministrationError.
    """
    if settings.break_glass:
        return DatabaseAdministrator(settings)
    return ApiAdministrator(management_api(settings, url))


@dataclass(frozen=True, slots=True)
class ApiAdministrator:
    """Asks the running service."""

    api: ManagementApi

    def merchants(self) -> Sequence[dict[str, Any]]:
        """Returns all merchants, oldest first."""
        return self.api.get("admin", "merchants")["data"]

    def add_merchant(self, name: str) -> dict[str, Any]:
        """Adds a merchant and returns it."""
        return self.api.post("admin", "merchants", body={"name": name})

    def suspend_merchant(self, merchant_id: str, reason: str) -> dict[str, Any]:
        """Refuses new orders of a merchant."""
        return self.api.post("admin", "merchants", merchant_id, "suspend", body={"reason": reason})

    def resume_merchant(self, merchant_id: str, reason: str) -> dict[str, Any]:
        """Ends a merchant's suspension."""
        return self.api.post("admin", "merchants", merchant_id, "resume", body={"reason": reason})

    def keys(self) -> Sequence[dict[str, Any]]:
        """Returns all API keys without their secrets."""
        return self.api.get("admin", "api-keys")["data"]

    def create_key(self, key: NewApiKey) -> dict[str, Any]:
        """Creates an API key like this one; the service makes the secret, and returns it."""
        body: dict[str, Any] = {
            "merchant_id": key.merchant_id,
            "livemode": key.livemode,
            "name": key.name,
            "scopes": sorted(key.scopes),
            "allowed_ips": [str(network) for network in key.networks],
            "expires_in_s": None if key.expires_in is None else int(key.expires_in.total_seconds()),
        }
        return self.api.post("admin", "api-keys", body=body)

    def rotate_key(self, key_id: str, overlap: timedelta) -> dict[str, Any]:
        """Replaces an API key by a new one."""
        body = {"overlap_s": int(overlap.total_seconds())}
        return self.api.post("admin", "api-keys", key_id, "rotate", body=body)

    def revoke_key(self, key_id: str) -> dict[str, Any]:
        """Revokes an API key."""
        return self.api.post("admin", "api-keys", key_id, "revoke")

    def balances(self, merchant_id: str | None) -> Sequence[dict[str, Any]]:
        """Returns all balances, or those of one merchant."""
        query = None if merchant_id is None else {"merchant": merchant_id}
        return self.api.get("admin", "balances", query=query)["data"]

    def grant_credit(
        self, account: BalanceAccount, amount: int, *, reason: str, key: str | None
    ) -> dict[str, Any]:
        """Grants a credit."""
        body = {**asdict(account), "amount": amount, "reason": reason}
        if key is not None:
            body["key"] = key
        return self.api.post("admin", "balances", "credit", body=body)

    def confirm_credit(self, account: BalanceAccount, amount: int, *, reason: str) -> dict[str, Any]:
        """Replaces the credit of an upgrade."""
        body = {**asdict(account), "credit": amount, "reason": reason}
        return self.api.post("admin", "balances", "confirm", body=body)

    def orders(self, where: OrderFilter) -> dict[str, Any]:
        """Returns one page of payments or payouts."""
        query = {name: value for name, value in asdict(where).items() if value is not None and name != "kind"}
        return self.api.get("admin", where.kind, query=query)

    def waiting(self, limit: int) -> Sequence[dict[str, Any]]:
        """Returns what waits for an operator's decision."""
        return self.api.get("admin", "waiting", query={"limit": limit})["data"]

    def contradictions(self, limit: int) -> Sequence[dict[str, Any]]:
        """Returns the contradictions by rails that no operator has closed."""
        return self.api.get("admin", "contradictions", query={"limit": limit})["data"]

    def close_contradictions(self, order_id: str, reason: str) -> dict[str, Any]:
        """Takes an order's contradictions off the list."""
        return self.api.post("admin", "orders", order_id, "close-contradictions", body={"reason": reason})

    def history(self, start: datetime, end: datetime, step: timedelta) -> dict[str, Any]:
        """Returns how many orders ended in each period, and how."""
        query = {"start": start.isoformat(), "end": end.isoformat(), "step": int(step.total_seconds())}
        return self.api.get("admin", "history", query=query)

    def order(self, order_id: str) -> dict[str, Any]:
        """Returns an order with its timeline."""
        return self.api.get("admin", "orders", order_id)

    def audit_entries(self, limit: int, **filters: Any) -> dict[str, Any]:
        """Returns the newest entries of the audit log."""
        query = {name: value for name, value in filters.items() if value is not None}
        if "since" in query:
            query["since"] = _utc(query["since"]).isoformat()
        return self.api.get("admin", "audit", query={"limit": limit, **query})

    def audit_export(self, after: int) -> dict[str, Any]:
        """Returns one page of the whole audit log."""
        return self.api.get("admin", "audit", "export", query={"after": after, "limit": _EXPORT_PAGE})


@dataclass(frozen=True, slots=True)
class DatabaseAdministrator:
    """Uses the database credentials of the settings. The audit log names the database role."""

    settings: Settings

    def merchants(self) -> Sequence[dict[str, Any]]:
        """Returns all merchants, oldest first."""
        return self._run(lambda work, _: work.merchants())

    def add_merchant(self, name: str) -> dict[str, Any]:
        """Adds a merchant and returns it."""
        return self._run(lambda work, by: work.add_merchant(name, by=by, note=_PREFIX))

    def suspend_merchant(self, merchant_id: str, reason: str) -> dict[str, Any]:
        """Refuses new orders of a merchant."""
        return self._run(
            lambda work, by: work.suspend_merchant(merchant_id, by=by, reason=reason, note=_PREFIX)
        )

    def resume_merchant(self, merchant_id: str, reason: str) -> dict[str, Any]:
        """Ends a merchant's suspension."""
        return self._run(
            lambda work, by: work.resume_merchant(merchant_id, by=by, reason=reason, note=_PREFIX)
        )

    def keys(self) -> Sequence[dict[str, Any]]:
        """Returns all API keys without their secrets."""
        return self._run(lambda work, _: work.keys())

    def create_key(self, key: NewApiKey) -> dict[str, Any]:
        """Creates this API key, and returns it with its secret."""
        return self._run(lambda work, by: work.create_key(key, by=by, note=_PREFIX))

    def rotate_key(self, key_id: str, overlap: timedelta) -> dict[str, Any]:
        """Replaces an API key by a new one."""
        return self._run(lambda work, by: work.rotate_key(key_id, overlap, by=by, note=_PREFIX))

    def revoke_key(self, key_id: str) -> dict[str, Any]:
        """Revokes an API key."""
        return self._run(lambda work, by: work.revoke_key(key_id, by=by, note=_PREFIX))

    def balances(self, merchant_id: str | None) -> Sequence[dict[str, Any]]:
        """Returns all balances, or those of one merchant."""
        return on_database(self.settings, lambda database: list_balances(database, merchant_id))

    def grant_credit(
        self, account: BalanceAccount, amount: int, *, reason: str, key: str | None
    ) -> dict[str, Any]:
        """Grants a credit."""

        async def grant(database: Database) -> dict[str, Any]:
            note = await break_glass_note(database, "balance_credit", f"{account} {amount}", reason)
            return await grant_credit(database, account, amount, key=key, note=note)

        return on_database(self.settings, grant)

    def confirm_credit(self, account: BalanceAccount, amount: int, *, reason: str) -> dict[str, Any]:
        """Replaces the credit of an upgrade."""

        async def confirm(database: Database) -> dict[str, Any]:
            note = await break_glass_note(database, "balance_confirm", f"{account} {amount}", reason)
            return await confirm_credit(database, account, amount, note=note)

        return on_database(self.settings, confirm)

    def orders(self, where: OrderFilter) -> dict[str, Any]:
        """Returns one page of payments or payouts."""
        return self._run(lambda work, by: work.orders(where, by=by, note=_PREFIX))

    def waiting(self, limit: int) -> Sequence[dict[str, Any]]:
        """Returns what waits for an operator's decision."""
        return self._run(lambda work, _: work.waiting(limit))

    def contradictions(self, limit: int) -> Sequence[dict[str, Any]]:
        """Returns the contradictions by rails that no operator has closed."""
        return self._run(lambda work, _: work.contradictions(limit))

    def close_contradictions(self, order_id: str, reason: str) -> dict[str, Any]:
        """Takes an order's contradictions off the list."""
        return self._run(
            lambda work, by: work.close_contradictions(order_id, by=by, reason=reason, note=_PREFIX)
        )

    def history(self, start: datetime, end: datetime, step: timedelta) -> dict[str, Any]:
        """Returns how many orders ended in each period, and how."""
        found = self._run(lambda work, _: work.history(start, end, step))
        return history_document(start, end, step, found)

    def order(self, order_id: str) -> dict[str, Any]:
        """Returns an order with its timeline."""
        return self._run(lambda work, by: work.order(order_id, by=by, note=_PREFIX))

    def audit_entries(self, limit: int, **filters: Any) -> dict[str, Any]:
        """Returns the newest entries of the audit log."""
        if filters.get("since") is not None:
            filters["since"] = _utc(filters["since"])
        return on_database(self.settings, lambda database: AuditLog(database).entries(limit, **filters))

    def audit_export(self, after: int) -> dict[str, Any]:
        """Returns one page of the whole audit log."""
        return on_database(self.settings, lambda database: AuditLog(database).export(after, _EXPORT_PAGE))

    def _run(self, work: Callable[[Administration, str], Awaitable[T]]) -> T:
        async def run(database: Database) -> T:
            return await work(Administration(database), await database_actor(database))

        return on_database(self.settings, run)


def _utc(at: datetime) -> datetime:
    """Return a time of the command line, which is in UTC unless it has an offset."""
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def on_database(settings: Settings, work: Callable[[Database], Awaitable[T]]) -> T:
    """Runs `work` on the database of the settings, and returns the result. Raises AdministrationError."""
    try:
        return with_database(settings, work)
    except ObjectNotFoundError as error:
        raise AdministrationError(_NOT_FOUND[error.kind].format(error.object_id)) from error
    except OrderUnreadableError as error:
        raise AdministrationError(
            f"{error}: run the newest version that works on this database; "
            "the table unreadable_orders holds what could not be read"
        ) from error
    except RequestError as error:
        raise AdministrationError(str(error)) from error


_NOT_FOUND: Mapping[str, str] = {
    "merchant": "No merchant has the id {}. List them with: synccash merchants list",
    "order": "No payment, refund or payout has the id {}. To find a payment by its merchant's reference: "
    "synccash payments list --reference REF",
}
