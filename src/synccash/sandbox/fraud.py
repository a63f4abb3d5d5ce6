"""A simulated fraud service with faults. It decides allow, review or decline for a payment or payout.

The request is a `POST` with at least `{"payment_id": "…", "amount": pesewas, "msisdn": "233…"}`, or
`payout_id` in place of `payment_id`. The response is 200 with `{"decision": "…", "reasons": ["…"]}`. The
decision depends only on `RULES`, so the same payment always gets the same decision. The control resources are
`faults` (GET, PUT, DELETE) and `questions` (GET), the log of requests.
"""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Annotated, Any, Literal

import msgspec

from synccash.sandbox.control import problem
from synccash.sandbox.faults import BadBodyError, Milliseconds, Share, revised
from synccash.sandbox.journal import Journal, Learned
from synccash.sandbox.wire import EMPTY_500, Call, Reply

NAME = "fraud"
Decision = Literal["allow", "review", "decline"]


class FraudFaults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The standing faults; by default there are none.

    `error_rate`: HTTP 500. `drop`: the connection is closed without a response, before or after the request
    is logged. `down`: the service's own port is closed.
    """

    latency_ms: Milliseconds = 0
    error_rate: Share = 0.0
    drop: Literal["before_commit", "after_commit"] | None = None
    drop_rate: Share = 1.0
    down: bool = False


class _Question(msgspec.Struct, frozen=True):
    amount: Annotated[int, msgspec.Meta(ge=1)]
    payment_id: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None
    payout_id: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None
    msisdn: str = ""

    def __post_init__(self) -> None:
        if (self.payment_id is None) is (self.payout_id is None):
            raise ValueError("expected `payment_id` or `payout_id`")


class Rule(msgspec.Struct, frozen=True):
    """One rule: `applies` takes the amount in pesewas and the number; `decision` and `reason` follow."""

    reason: str
    decision: Decision
    applies: Callable[[int, str], bool]


RULES = (
    Rule("amount_from_10000_ghs", "decline", lambda amount, _: amount >= 1_000_000),
    Rule("amount_from_5000_ghs", "review", lambda amount, _: 500_000 <= amount < 1_000_000),
    Rule("number_ends_in_666", "decline", lambda _, msisdn: msisdn.endswith("666")),
    Rule("number_ends_in_555", "review", lambda _, msisdn: msisdn.endswith("555")),
)
"""The response has the most severe decision, and the reasons of all rules that apply."""


class FraudSimulator:
    """The service with its faults and its log of questions, both restored from its journal."""

    def __init__(self, journal: Journal, rng: Random) -> None:
        self.faults = FraudFaults()
        self.questions: list[dict[str, Any]] = []
        self._journal = journal
        self._rng = rng

    def start(self) -> None:
        """Restore the state from the journal."""
        for event in self._journal.events():
            if isinstance(event, Learned):
                self._apply(event.fact)

    def reset(self) -> None:
        """Remove all faults and questions."""
        self.faults = FraudFaults()
        self.questions.clear()
        self._journal.restart()

    def _record(self, fact: dict[str, Any]) -> None:
        self._journal.append(Learned(fact))
        self._apply(fact)

    def _apply(self, fact: dict[str, Any]) -> None:
        if "faults" in fact:
            self.faults = msgspec.convert(fact["faults"], FraudFaults)
        else:
            self.questions.append(fact)

    async def serve(self, call: Call) -> Reply | None:
        """Return the response to one request; None: close its connection without a response."""
        if self.faults.latency_ms:
            await asyncio.sleep(self.faults.latency_ms / 1000)
        faults = self.faults
        if faults.down:
            return None
        if call.path.rstrip("/") not in ("", f"/{NAME}"):
            return problem(404, f"Nothing is at {call.path}.")
        if call.method != "POST":
            return problem(405, "Questions are asked with POST.", allow="POST")
        if faults.error_rate and self._rng.random() < faults.error_rate:
            return EMPTY_500
        drops = faults.drop is not None and self._rng.random() < faults.drop_rate
        if drops and faults.drop == "before_commit":
            return None
        reply = self._decide(call.body)
        return None if drops else reply

    def _decide(self, raw: bytes) -> Reply:
        try:
            question = msgspec.json.decode(raw, type=_Question)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return problem(422, f"The question cannot be read: {error}.")
        matched = [rule for rule in RULES if rule.applies(question.amount, question.msisdn)]
        decisions = {rule.decision for rule in matched}
        decision = next((word for word in ("decline", "review") if word in decisions), "allow")
        reasons = [rule.reason for rule in matched]
        named = (
            {"payment_id": question.payment_id} if question.payment_id else {"payout_id": question.payout_id}
        )
        self._record({**named, "amount": question.amount, "decision": decision})
        return Reply.json(200, {"decision": decision, "reasons": reasons})

    def control(self, resource: str, method: str, raw: bytes) -> Reply:
        """Serve one request below /control/fraud."""
        match resource, method:
            case "questions", "GET":
                return Reply.json(200, {"questions": self.questions})
            case "faults", "GET":
                return Reply.json(200, self.faults)
            case "faults", "PUT":
                try:
                    faults = revised(self.faults, msgspec.json.decode(raw))
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    return problem(400, f"The body is not JSON: {error}.")
                except BadBodyError as error:
                    return problem(422, f"faults of fraud: {error}.", error.errors)
                self._record({"faults": msgspec.to_builtins(faults)})
                return Reply.json(200, self.faults)
            case "faults", "DELETE":
                self._record({"faults": msgspec.to_builtins(FraudFaults())})
                return Reply.json(200, self.faults)
            case (("questions" | "faults"), _):
                allowed = "GET" if resource == "questions" else "GET, PUT, DELETE"
                return problem(405, f"{method} is no method of {resource}.", allow=allowed)
            case _:
                return problem(404, f"The fraud service has no control resource {resource!r}.")
