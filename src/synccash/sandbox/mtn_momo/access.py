"""Authorizes calls to MTN: subscription keys, API users, access tokens, environments, two platforms."""

from collections import deque
from random import Random
from typing import Any

import msgspec

from synccash.sandbox.authentication import basic_credentials, bearer_token
from synccash.sandbox.control_resources import read_credentials, serve_settings
from synccash.sandbox.mtn_momo.request import error, gateway_error, json_object, reference
from synccash.sandbox.mtn_momo.tables import CURRENCY_OF_ENVIRONMENT, MISSING_KEY, WRONG_KEY, Settings
from synccash.sandbox.wire import GATEWAY_REFUSAL, Call, Outcome, RefusedError, Reply


class _Credentials(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    api_user: str
    api_key: str
    callback_host: str


class AccessControl:
    """The registered credentials, the tokens and the settings: facts that outlive a restart."""

    def __init__(self, rng: Random) -> None:
        self.settings = Settings()
        self._rng = rng
        self._users: dict[str, dict[str, Any]] = {}
        self._tokens: dict[str, dict[str, Any]] = {}
        self._inquiries: dict[str, deque[float]] = {}

    def check_gateway(self, call: Call) -> None:
        """Raise RefusedError for a call that MTN's gateway refuses."""
        if self.settings.platform == "new" and "python-requests" in call.headers.get("User-Agent", ""):
            raise RefusedError(GATEWAY_REFUSAL)
        key = call.headers.get("Ocp-Apim-Subscription-Key", "")
        if not key:
            raise RefusedError(gateway_error(401, MISSING_KEY))
        keys = self.settings.subscription_keys
        if keys is None:
            known = not key.lower().startswith("invalid")
        else:
            product = call.path.split("/")[1]
            known = any(key in held for name, held in keys.items() if product in (name, "v1_0"))
        if not known:
            raise RefusedError(gateway_error(401, WRONG_KEY))

    def environment(self, call: Call) -> str:
        """Return the target environment of a request."""
        environment = call.headers.get("X-Target-Environment", "")
        if environment not in CURRENCY_OF_ENVIRONMENT:
            raise RefusedError(error("NOT_ALLOWED_TARGET_ENVIRONMENT"))
        return environment

    def callback_host(self, call: Call, product: str, now: float) -> str:
        """Return the callback host that the owner of this product's bearer token registered."""
        token = self._tokens.get(bearer_token(call) or "")
        if token is None or token["product"] != product or token["expires_at"] <= now:
            raise RefusedError(
                gateway_error(401, "Unauthorized. Access token is missing, invalid or expired.")
            )
        return self._users[token["user"]]["host"]

    def is_over_the_cap(self, call: Call, now: float) -> bool:
        """Count one status request of this subscription key; True when the second's cap is exceeded."""
        cap = self.settings.status_per_s
        recent = self._inquiries.setdefault(call.headers["Ocp-Apim-Subscription-Key"], deque())
        while recent and recent[0] <= now - 1:
            recent.popleft()
        if cap and len(recent) >= cap:
            return True
        recent.append(now)
        return False

    def create_user(self, call: Call) -> Outcome:
        """Make an API user under the caller's X-Reference-Id."""
        user = reference(call.headers.get("X-Reference-Id"))
        host = json_object(call.body).get("providerCallbackHost")
        if not isinstance(host, str) or not host:
            return Outcome(error("BAD_REQUEST", "providerCallbackHost must be a host name."))
        if user in self._users:
            return Outcome(error("RESOURCE_ALREADY_EXIST"))
        return Outcome(Reply(201, content_type=""), facts=({"user": user, "key": None, "host": host},))

    def create_key(self, user: str) -> Outcome:
        """Make a new API key; the former one ends."""
        if user not in self._users:
            return Outcome(error("RESOURCE_NOT_FOUND"))
        key = f"{self._rng.getrandbits(128):032x}"
        return Outcome(Reply.json(201, {"apiKey": key}), facts=(self._users[user] | {"key": key},))

    def show_user(self, user: str) -> Outcome:
        """Describe an API user."""
        if user not in self._users:
            return Outcome(error("RESOURCE_NOT_FOUND"))
        host = self._users[user]["host"]
        return Outcome(Reply.json(200, {"providerCallbackHost": host, "targetEnvironment": "sandbox"}))

    def create_token(self, call: Call, product: str, now: float) -> Outcome:
        """Issue an access token of one product for Basic credentials."""
        environment = call.headers.get("X-Target-Environment", "")
        if self.settings.platform == "new" and environment not in CURRENCY_OF_ENVIRONMENT:
            return Outcome(Reply.json(400, {"error": "Invalid or missing X-Target-Environment header"}))
        user, key = basic_credentials(call)
        if not key or user not in self._users or self._users[user]["key"] != key:
            return Outcome(Reply.json(401, {"error": "login_failed"}))
        ttl = self.settings.token_ttl_s
        token = ".".join(f"{self._rng.getrandbits(192):048x}" for _ in range(3))
        fact = {"token": token, "product": product, "user": user, "expires_at": now + ttl}
        body = {"access_token": token, "token_type": "access_token", "expires_in": ttl}
        return Outcome(Reply.json(200, body), facts=(fact,))

    def learn(self, fact: dict[str, Any], now: float) -> None:
        """Take a setting, a token or an API user into account."""
        if "settings" in fact:
            self.settings = msgspec.convert(fact["settings"], Settings)
        elif "token" in fact:
            self._tokens = {text: held for text, held in self._tokens.items() if held["expires_at"] > now}
            self._tokens[fact["token"]] = fact
        else:
            self._users[fact["user"]] = fact

    def reset(self) -> list[dict[str, Any]]:
        """Go back to default settings; return users and tokens, which stay."""
        self.settings = Settings()
        self._inquiries.clear()
        return [*self._users.values(), *self._tokens.values()]

    def control(self, resource: str, method: str, body: object) -> Outcome | None:
        """Serve `settings` (GET, PUT) and `credentials` (PUT: what MTN's portal does for production).

        Raises:
            BadBodyError: if the body cannot be used.
        """
        if resource == "settings":
            return serve_settings(self.settings, method, body)
        if (resource, method) != ("credentials", "PUT"):
            return None
        given = read_credentials(_Credentials, body)
        fact = {"user": given.api_user, "key": given.api_key, "host": given.callback_host}
        return Outcome(Reply.json(200, {"api_user": given.api_user}), facts=(fact,))
