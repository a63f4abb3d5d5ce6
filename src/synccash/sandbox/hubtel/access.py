"""Authorizes calls to Hubtel: an allow list of addresses, Basic credentials, a merchant's account numbers."""

from typing import Any

import msgspec

from synccash.sandbox.authentication import basic_credentials
from synccash.sandbox.control_resources import read_credentials, serve_settings
from synccash.sandbox.hubtel.request import refusal
from synccash.sandbox.wire import GATEWAY_REFUSAL, Call, Outcome, RefusedError, Reply


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings. `ip_allowed` false: every call gets the web page with 403 of Hubtel's allow list.

    `status_from_s`: Hubtel answers for a request from five minutes on; a younger one is not found.
    `minimum_amount` in pesewas.
    """

    ip_allowed: bool = True
    status_from_s: float = 0.0
    minimum_amount: int = 1


class _Credentials(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    client_id: str
    client_secret: str
    pos_sales_id: str
    prepaid_deposit_id: str


class AccessControl:
    """The registered credentials and the settings: facts that outlive a restart."""

    def __init__(self) -> None:
        self.settings = Settings()
        self._held: dict[str, _Credentials] = {}

    def check_merchant(self, call: Call, merchant: str, role: str) -> None:
        """Raise RefusedError where the allow list, the credentials or the merchant's number do not fit.

        `role` is the number that belongs in this path: `pos_sales_id` or `prepaid_deposit_id`.
        """
        if not self.settings.ip_allowed:
            raise RefusedError(GATEWAY_REFUSAL)
        client, secret = basic_credentials(call)
        held = self._held.get(client)
        if held is None or held.client_secret != secret:
            # The status is our choice; that a wrong key is 4101 is published.
            raise RefusedError(refusal(401, "4101", "Client keys do not match the business API keys."))
        if getattr(held, role) != merchant:
            raise RefusedError(refusal(403, "4101", "The business is not set up for this account."))

    def learn(self, fact: dict[str, Any]) -> None:
        """Take a setting or credentials into account."""
        if "settings" in fact:
            self.settings = msgspec.convert(fact["settings"], Settings)
        else:
            given = msgspec.convert(fact, _Credentials)
            self._held[given.client_id] = given

    def reset(self) -> list[dict[str, Any]]:
        """Go back to default settings; return the credentials, which stay."""
        self.settings = Settings()
        return [msgspec.to_builtins(held) for held in self._held.values()]

    def control(self, resource: str, method: str, body: object) -> Outcome | None:
        """Serve `settings` (GET, PUT) and `credentials` (PUT: what a merchant's dashboard does).

        Raises:
            BadBodyError: if the body cannot be used.
        """
        if resource == "settings":
            return serve_settings(self.settings, method, body)
        if (resource, method) != ("credentials", "PUT"):
            return None
        given = read_credentials(_Credentials, body)
        shown = Reply.json(200, {"client_id": given.client_id})
        return Outcome(shown, facts=(msgspec.to_builtins(given),))
