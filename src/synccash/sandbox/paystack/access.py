"""Authorizes calls to Paystack by secret key, and signs the events of each account."""

import hashlib
import hmac
from typing import Any

import msgspec

from synccash.sandbox.authentication import bearer_token
from synccash.sandbox.control_resources import read_credentials
from synccash.sandbox.paystack.request import error
from synccash.sandbox.wire import Call, Message, Outcome, RefusedError, Reply


class _Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    secret_key: str
    webhook_url: str | None = None


class AccessControl:
    """The registered accounts, which get events. Any other test key works without events."""

    def __init__(self) -> None:
        self._accounts: dict[int, _Account] = {}

    def integration(self, call: Call) -> int:
        """Return the caller's integration number. Raises RefusedError."""
        if not call.headers.get("Authorization"):
            raise RefusedError(error(401, "No Authorization Header was found", "missing_auth", "api_error"))
        key = bearer_token(call)
        if key is None or not self._takes(key):
            raise RefusedError(error(401, "Invalid key", "invalid_Key"))
        return _number(key)

    def _takes(self, key: str) -> bool:
        is_registered = any(account.secret_key == key for account in self._accounts.values())
        return is_registered or (key.startswith("sk_test_") and not key.startswith("sk_test_invalid"))

    def event(self, integration: int, name: str, data: dict[str, Any], *, forged: bool) -> Message | None:
        """Return a signed event, a forged one with another key; None for an account without a webhook URL."""
        account = self._accounts.get(integration)
        if account is None or account.webhook_url is None:
            return None
        body = msgspec.json.encode({"event": name, "data": data})
        key = "sk_test_of_somebody_else" if forged else account.secret_key
        signature = hmac.new(key.encode(), body, hashlib.sha512).hexdigest()
        return Message("POST", account.webhook_url, body, {"x-paystack-signature": signature})

    def learn(self, fact: dict[str, Any]) -> None:
        """Keep a registered account."""
        account = msgspec.convert(fact["account"], _Account)
        self._accounts[_number(account.secret_key)] = account

    def facts(self) -> list[dict[str, Any]]:
        """Return the facts that a reset keeps."""
        return [{"account": msgspec.to_builtins(account)} for account in self._accounts.values()]

    def register_account(self, body: object) -> Outcome:
        """Register an account as on Paystack's dashboard: its secret key and the URL of its events.

        Raises:
            BadBodyError: if the body cannot be used.
        """
        account = read_credentials(_Account, body)
        fact = {"account": msgspec.to_builtins(account)}
        shown = {"integration": _number(account.secret_key), "webhook_url": account.webhook_url}
        return Outcome(Reply.json(200, shown), facts=(fact,))


def _number(key: str) -> int:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:3])
