"""Who may call Hubtel: an allow list of addresses before it, Basic credentials, two numbers of a merchant."""

from typing import Any

import msgspec

from synccash.sandbox.authentication import basic_credentials
from synccash.sandbox.control_resources import read_credentials, serve_settings
from synccash.sandbox.hubtel.request import refusal
from synccash.sandbox.wire import GATEWAY_REFUSAL, Call, Outcome, RefusedError, Reply


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How this Hubtel is set up. `ip_allowed` false: a web page with 403 for everybody, as strangers get it.

    `status_from_s`: Hubtel answers for a request from five minutes on; before, this playback knows none.
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


class Access:
    """The credentials that Hubtel handed out and its settings: facts that outlive a restart."""

    def __init__(self) -> None:
        self.settings = Settings()
        self._held: dict[str, _Credentials] = {}

    def merchant(self, call: Call, merchant: str, role: str) -> None:
        """Refuse whom the allow list, the credentials or the merchant's number refuse.

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
