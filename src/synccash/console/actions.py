"""What operators can do in the console: one table of forms, each of which becomes one call of the API."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from synccash.payments.access import AccessScope, OperatorRole
from synccash.payments.money import from_major

_FINAL = frozenset({"succeeded", "failed", "canceled"})


class InvalidFieldError(Exception):
    """A field of a form cannot be used; the text says what is expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of a form. `kind`: text, long, amount (cedis), number, time (UTC), choice, choices, switch,
    or nonce: a hidden random text, so that a form that is sent twice acts once."""

    name: str
    label: str
    kind: str = "text"
    hint: str = ""
    options: tuple[tuple[str, str], ...] = ()
    is_required: bool = True
    value: str = ""

    def read(self, text: str) -> Any:
        """Return the value for the API; None for an empty optional field. Raises InvalidFieldError."""
        if self.kind == "switch":
            return text == "on"
        if self.kind == "choices":
            return [one for one in text.split(",") if one]
        if not text:
            if self.is_required:
                raise InvalidFieldError(f"{self.label}: this is needed.")
            return None
        if self.kind == "amount":
            return _pesewas(self.label, text)
        if self.kind == "number":
            if not text.isdecimal():
                raise InvalidFieldError(f"{self.label}: expected a whole number.")
            return int(text)
        if self.kind == "time":
            return _utc_time(self.label, text)
        if self.kind == "choice" and text not in dict(self.options):
            raise InvalidFieldError(f"{self.label}: choose one of the list.")
        return text


def _utc_time(label: str, text: str) -> str:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidFieldError(f"{label}: expected a time such as 2026-03-02 09:15.") from error
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).isoformat()


def _pesewas(label: str, text: str) -> int:
    sign = -1 if text.startswith(("-", "−")) else 1
    try:
        return sign * from_major(text.lstrip("-−").replace(",", "").removeprefix("GHS").strip())
    except ValueError as error:
        raise InvalidFieldError(f"{label}: expected an amount in cedis such as 25.00.") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionSpec:
    """One action. `route` is that of the API, which also decides about the role; the part in braces is the
    target. `consequence` says what happens, before the operator confirms. `is_dangerous`: it moves money or
    stops something. `back` is the page to return to; `{target}` is replaced."""

    name: str
    route: str
    title: str
    button: str
    consequence: str
    fields: tuple[Field, ...] = ()
    is_dangerous: bool = False
    back: str = "/console/orders/{target}"
    done: str = "Done."

    @property
    def method(self) -> str:
        """The HTTP method of the API's call."""
        return self.route.partition(" ")[0]

    @property
    def has_target(self) -> bool:
        """False for an action that makes something new."""
        return "{" in self.route

    def path(self, target: str) -> tuple[str, ...]:
        """Return the path of the API's call, below the base path. A target of two parts has an @ between
        them."""
        parts = self.route.partition(" ")[2].strip("/").split("/")
        has_two = sum(part.startswith("{") for part in parts) > 1
        targets = iter(target.rsplit("@", 1) if has_two else [target])
        return tuple(next(targets, "") if part.startswith("{") else part for part in parts)

    def body(self, form: Mapping[str, str]) -> dict[str, Any] | None:
        """Return the body of the API's call. Raises InvalidFieldError."""
        values = {field.name: field.read(form.get(field.name, "")) for field in self.fields}
        return {name: value for name, value in values.items() if value is not None} if self.fields else None


_REASON = Field(name="reason", label="Reason", kind="long", hint="For the audit log; say what you checked.")
_EVIDENCE = Field(
    name="evidence",
    label="Evidence",
    kind="long",
    hint="Where you saw the outcome: a line of the rail's statement, or a ticket of the provider.",
)
_OUTCOME = Field(
    name="outcome",
    label="Outcome at the rail",
    kind="choice",
    options=(
        ("succeeded", "Succeeded: the money moved"),
        ("failed", "Failed: no money moved, and none will"),
    ),
)
_LOST_RAIL = Field(
    name="rail",
    label="Rail of a lost attempt",
    hint="Only after a restored backup, where the database lost the attempt that succeeded.",
    is_required=False,
)
_RECEIVED = Field(
    name="amount_received",
    label="Amount received (GHS)",
    kind="amount",
    hint="Only where it differs from the payment's amount.",
    is_required=False,
)
_ROLE = Field(
    name="role", label="Role", kind="choice", options=tuple((role.value, role.value) for role in OperatorRole)
)
_SCOPES = Field(
    name="scopes",
    label="Scopes",
    kind="choices",
    options=tuple(
        (scope.value, scope.value) for scope in AccessScope if not scope.value.startswith("admin:")
    ),
    value="payments:read,payments:write,refunds:write,webhooks:write",
)
_RESOLVE = (
    "Ends the order with this outcome, for good. If you say failed and the money did move, the payer may be "
    "charged twice; if you say succeeded and it did not, the merchant delivers without payment. A second "
    "operator has to approve it where there is one."
)
_BREAKER = "/console/rails"
_SPECS = (
    ActionSpec(
        name="approve-payment",
        route="POST /payments/{payment_id}/approve",
        title="Approve a payment in risk review",
        button="Approve",
        consequence="The payment is sent to a rail now.",
        fields=(_REASON,),
        is_dangerous=True,
        done="Approved. The payment is on its way.",
    ),
    ActionSpec(
        name="decline-payment",
        route="POST /payments/{payment_id}/decline",
        title="Decline a payment in risk review",
        button="Decline",
        consequence="The payment fails, and nothing is sent.",
        fields=(_REASON,),
        done="Declined. The payment has failed.",
    ),
    ActionSpec(
        name="approve-payout",
        route="POST /payouts/{payout_id}/approve",
        title="Approve a payout in risk review",
        button="Approve",
        consequence="The payout is sent now. A large one has to be approved by a second operator.",
        fields=(_REASON,),
        is_dangerous=True,
        done="Approved. The payout is on its way.",
    ),
    ActionSpec(
        name="decline-payout",
        route="POST /payouts/{payout_id}/decline",
        title="Decline a payout in risk review",
        button="Decline",
        consequence="The payout fails, and nothing is sent.",
        fields=(_REASON,),
        done="Declined. The payout has failed.",
    ),
    ActionSpec(
        name="resolve-payment",
        route="POST /payments/{payment_id}/resolve",
        title="Resolve a payment under review",
        button="Resolve",
        consequence=_RESOLVE,
        fields=(_OUTCOME, _EVIDENCE, _RECEIVED, _LOST_RAIL),
        is_dangerous=True,
        done="Resolved.",
    ),
    ActionSpec(
        name="resolve-refund",
        route="POST /refunds/{refund_id}/resolve",
        title="Resolve a refund under review",
        button="Resolve",
        consequence=_RESOLVE,
        fields=(_OUTCOME, _EVIDENCE, _LOST_RAIL),
        is_dangerous=True,
        done="Resolved.",
    ),
    ActionSpec(
        name="resolve-payout",
        route="POST /payouts/{payout_id}/resolve",
        title="Resolve a payout under review",
        button="Resolve",
        consequence=_RESOLVE,
        fields=(_OUTCOME, _EVIDENCE, _LOST_RAIL),
        is_dangerous=True,
        done="Resolved.",
    ),
    ActionSpec(
        name="return-surplus",
        route="POST /payments/{payment_id}/return-surplus",
        title="Return a surplus",
        button="Return the surplus",
        consequence="Refunds what was collected beyond the payment. Each surplus debit is refunded once.",
        fields=(_REASON,),
        is_dangerous=True,
        done="The surplus is being refunded.",
    ),
    ActionSpec(
        name="inquire",
        route="POST /admin/orders/{order_id}/inquire",
        title="Ask the rail now",
        button="Inquire now",
        consequence="A worker asks the rail about this order now, as after a callback. It moves no money.",
        fields=(_REASON,),
        done="The rail is being asked. Load the page again in a moment.",
    ),
    ActionSpec(
        name="cancel",
        route="POST /admin/payments/{payment_id}/cancel",
        title="Cancel a payment",
        button="Cancel the payment",
        consequence="Ends the payment. It is refused once money may have moved.",
        fields=(_REASON,),
        is_dangerous=True,
        done="The payment is canceled.",
    ),
    ActionSpec(
        name="refund",
        route="POST /admin/payments/{payment_id}/refund",
        title="Refund a payment",
        button="Refund",
        consequence="Returns money to the payer from the merchant's balance. A large refund has to be "
        "approved by a second operator.",
        fields=(
            Field(
                name="amount",
                label="Amount (GHS)",
                kind="amount",
                hint="Empty: all that is left to refund.",
                is_required=False,
            ),
            _REASON,
            Field(name="key", label="", kind="nonce"),
        ),
        is_dangerous=True,
        done="The refund was opened.",
    ),
    ActionSpec(
        name="redeliver",
        route="POST /admin/events/{event_id}/redeliver",
        title="Send an event again",
        button="Send again",
        consequence="Sends the event to each enabled endpoint of the merchant once more.",
        fields=(_REASON,),
        back="/console/webhooks",
        done="The event is being sent again.",
    ),
    ActionSpec(
        name="recover-webhooks",
        route="POST /admin/merchants/{merchant_id}/recover-webhooks",
        title="Recover a merchant's webhooks",
        button="Send all again",
        consequence="Sends again what was not delivered of this merchant's events since a time: what was "
        "given up, and what waits for another try. At most 1,000 deliveries to enabled endpoints, oldest "
        "first.",
        fields=(
            Field(name="livemode", label="Live mode", kind="switch", is_required=False),
            Field(name="since", label="Since (UTC)", kind="time"),
            _REASON,
        ),
        back="/console/webhooks",
    ),
    ActionSpec(
        name="close-contradictions",
        route="POST /admin/orders/{order_id}/close-contradictions",
        title="Close an order's contradictions",
        button="Close",
        consequence="Takes the order off the list of contradictions. It changes nothing else.",
        fields=(_REASON,),
        back="/console/queues?queue=contradictions",
        done="The contradiction is closed.",
    ),
    ActionSpec(
        name="reset-breaker",
        route="POST /resilience/circuit-breakers/{name}/reset",
        title="Reset a circuit breaker",
        button="Reset",
        consequence="Closes the breaker in all processes and clears its recent results: new attempts "
        "are sent.",
        fields=(_REASON,),
        back=_BREAKER,
        done="The breaker is closed in all processes.",
    ),
    ActionSpec(
        name="force-open-breaker",
        route="POST /resilience/circuit-breakers/{name}/force-open",
        title="Force a circuit breaker open",
        button="Force open",
        consequence="Refuses every new attempt in all processes until it is reset. Inquiries continue.",
        fields=(_REASON,),
        is_dangerous=True,
        back=_BREAKER,
        done="The breaker is forced open in all processes.",
    ),
    ActionSpec(
        name="unblock-key",
        route="DELETE /resilience/rate-limits/{key}/{endpoint}",
        title="Unblock a key",
        button="Unblock",
        consequence="Ends the block and forgets what the key has used of its limits. Other processes may "
        "refuse it for 2 seconds more.",
        fields=(_REASON,),
        back="/console/limits",
        done="The key is unblocked.",
    ),
    ActionSpec(
        name="add-merchant",
        route="POST /admin/merchants",
        title="Add a merchant",
        button="Add",
        consequence="Adds a merchant. It can do nothing before it has an API key.",
        fields=(Field(name="name", label="Name"),),
        back="/console/merchants",
        done="The merchant was added.",
    ),
    ActionSpec(
        name="suspend-merchant",
        route="POST /admin/merchants/{merchant_id}/suspend",
        title="Suspend a merchant",
        button="Suspend",
        consequence="Refuses new payments, refunds and payouts of this merchant. Open orders are completed.",
        fields=(_REASON,),
        is_dangerous=True,
        back="/console/merchants",
        done="The merchant is suspended.",
    ),
    ActionSpec(
        name="resume-merchant",
        route="POST /admin/merchants/{merchant_id}/resume",
        title="End a merchant's suspension",
        button="Resume",
        consequence="The merchant can make payments, refunds and payouts again.",
        fields=(_REASON,),
        back="/console/merchants",
        done="The merchant is active again.",
    ),
    ActionSpec(
        name="grant-credit",
        route="POST /admin/balances/credit",
        title="Grant credit",
        button="Grant",
        consequence="The merchant may refund and pay out this much more than it has collected. A "
        "negative amount "
        "takes credit back. A second operator has to approve it where there is one.",
        fields=(
            Field(name="merchant_id", label="Merchant"),
            Field(name="livemode", label="Live mode", kind="switch", is_required=False),
            Field(name="currency", label="Currency", kind="choice", options=(("GHS", "GHS"),), value="GHS"),
            Field(name="amount", label="Amount (GHS)", kind="amount"),
            _REASON,
        ),
        is_dangerous=True,
        back="/console/merchants",
        done="The credit was granted.",
    ),
    ActionSpec(
        name="create-key",
        route="POST /admin/api-keys",
        title="Create an API key",
        button="Create",
        consequence="The secret is shown once. A live key that may pay out has to be approved by a "
        "second operator.",
        fields=(
            Field(name="merchant_id", label="Merchant"),
            Field(name="name", label="Name", hint="Who uses it, such as: shop backend."),
            Field(name="livemode", label="Live mode", kind="switch", is_required=False),
            _SCOPES,
        ),
        back="/console/keys",
    ),
    ActionSpec(
        name="rotate-key",
        route="POST /admin/api-keys/{api_key_id}/rotate",
        title="Replace an API key",
        button="Replace",
        consequence="Makes a new key with the same scopes, shown once. The former one ends after the "
        "overlap.",
        fields=(Field(name="overlap_s", label="Overlap in seconds", kind="number", value="86400"),),
        back="/console/keys",
    ),
    ActionSpec(
        name="revoke-key",
        route="POST /admin/api-keys/{api_key_id}/revoke",
        title="Revoke an API key",
        button="Revoke",
        consequence="Requests with this key are refused within 5 seconds. It cannot be undone.",
        is_dangerous=True,
        back="/console/keys",
        done="The key is revoked.",
    ),
    ActionSpec(
        name="add-operator",
        route="POST /operators",
        title="Add an operator",
        button="Add",
        consequence="Makes an enrolment code that is valid for 24 hours. Give it to that person only.",
        fields=(
            Field(name="name", label="Name", hint="Lower-case letters, digits, dots, hyphens."),
            _ROLE,
            _REASON,
        ),
        back="/console/operators",
    ),
    ActionSpec(
        name="reset-operator",
        route="POST /operators/{name}/reset",
        title="Reset an operator",
        button="Reset",
        consequence="Ends the password, the authenticator app and all sessions, and makes an enrolment code.",
        fields=(_REASON,),
        is_dangerous=True,
        back="/console/operators",
    ),
    ActionSpec(
        name="disable-operator",
        route="POST /operators/{name}/disable",
        title="Disable an operator",
        button="Disable",
        consequence="Ends all sessions within 5 seconds; the operator cannot sign in any more.",
        fields=(_REASON,),
        is_dangerous=True,
        back="/console/operators",
        done="The operator is disabled.",
    ),
    ActionSpec(
        name="enable-operator",
        route="POST /operators/{name}/enable",
        title="Enable an operator",
        button="Enable",
        consequence="The operator can sign in again.",
        fields=(_REASON,),
        back="/console/operators",
        done="The operator is enabled.",
    ),
    ActionSpec(
        name="change-role",
        route="POST /operators/{name}/role",
        title="Change an operator's role",
        button="Change",
        consequence="The new role counts within 5 seconds.",
        fields=(_ROLE, _REASON),
        back="/console/operators",
        done="The role is changed.",
    ),
    ActionSpec(
        name="approve",
        route="POST /approvals/{approval_id}/approve",
        title="Approve as the second operator",
        button="Approve and execute",
        consequence="Executes the action at once, under both names. Approve only what you have "
        "checked yourself.",
        fields=(_REASON,),
        is_dangerous=True,
        back="/console/approvals",
        done="Approved and executed.",
    ),
    ActionSpec(
        name="decline",
        route="POST /approvals/{approval_id}/decline",
        title="Decline an action that waits",
        button="Decline",
        consequence="The action is not executed.",
        fields=(_REASON,),
        back="/console/approvals",
        done="Declined.",
    ),
)
ACTIONS: Mapping[str, ActionSpec] = {one.name: one for one in _SPECS}
_SHOWN_ONCE = ("secret", "enrolment_code", "enrolment_code_half")


def secrets_in(document: Any) -> dict[str, str]:
    """Return what an answer shows only once: the secret of a key, or an enrolment code."""
    if not isinstance(document, dict):
        return {}
    found: dict[str, str] = {}
    for name, value in document.items():  # pyright: ignore[reportUnknownVariableType]
        if name in _SHOWN_ONCE and isinstance(value, str):
            found[str(name)] = value  # pyright: ignore[reportUnknownArgumentType]
        elif name == "result":
            found |= secrets_in(value)
    return found


def actions_of_order(order: Mapping[str, Any]) -> list[ActionSpec]:
    """Return what can be done about an order in its present state. The API decides for good."""
    kind, detail, is_final = order["object"], order["status_detail"], order["status"] in _FINAL
    found: list[str] = []
    if detail == "risk_review":
        found += [f"approve-{kind}", f"decline-{kind}"]
    elif detail == "under_review":
        found += ["inquire", f"resolve-{kind}"]
    elif not is_final:
        found.append("inquire")
    if kind == "payment" and is_final and _is_contradicted(order):
        found.append("return-surplus")
    if kind == "payment" and order.get("amount_received", 0) > order.get("amount_refunded", 0):
        found.append("refund")
    if kind == "payment" and not is_final and not order.get("attempts", True):
        found.append("cancel")
    return _known(*found)


def actions_of_waiting(one: Mapping[str, Any]) -> list[ActionSpec]:
    """Return what can be done about an entry of the queues."""
    if one["why"] == "surplus":
        return _known("return-surplus")
    shown = {"object": one["kind"], "status_detail": one["why"], "status": "processing", "timeline": ()}
    return actions_of_order(shown)


def actions_of_contradiction(one: Mapping[str, Any], *, has_surplus: bool) -> list[ActionSpec]:
    """Return what can be done about a contradiction: about its order first, then closing it."""
    shown = {"object": one["kind"], "timeline": (), **one}
    found = [action for action in actions_of_order(shown) if action.name != "return-surplus"]
    surplus = _known("return-surplus") if has_surplus else []
    inquiry = [] if ACTIONS["inquire"] in found else _known("inquire")
    return [*surplus, *found, *inquiry, *_known("close-contradictions")]


def done_text(action: ActionSpec, document: Mapping[str, Any]) -> str:
    """Return what was done, for the next page."""
    if action.name != "recover-webhooks":
        return action.done
    more = " There are more: repeat it when these are sent." if document["has_more"] else ""
    looked_since = document["looked_since"]
    older = f" Events before {looked_since} were not looked at." if looked_since else ""
    n = document["deliveries"]
    return f"{n} {'delivery is' if n == 1 else 'deliveries are'} being sent again.{more}{older}"


def _is_contradicted(order: Mapping[str, Any]) -> bool:
    return any(entry["kind"] in ("contradiction", "amount_differs") for entry in order["timeline"])


def _known(*names: str) -> list[ActionSpec]:
    return [ACTIONS[name] for name in names if name in ACTIONS]
