"""Step 1 of docs/adding-a-rail.md: what the toy's answers mean."""

from synccash.payments.failure import Failure, FailureCode
from synccash.payments.rail import RailStatus, SendAnswer, StatusAnswer
from synccash.rails.answers import no_information, pesewas, wrong_reference
from synccash.rails.http.transport import Exchange, TransportFailure
from synccash.resilience.evidence import Evidence

_AWAY = Failure(FailureCode.PROVIDER_UNAVAILABLE, reroute=True)
_FAULT = Failure(FailureCode.PROVIDER_ERROR, reroute=True)
SENDS = {
    "TAKEN": (Evidence.ACCEPTED, None),
    "HAD_IT": (Evidence.ACCEPTED, None),
    "BUSY": (Evidence.REFUSED_LATER, _AWAY),
    "BAD_KEY": (Evidence.REFUSED_FINAL, Failure(FailureCode.PROVIDER_ACCOUNT_BLOCKED, reroute=True)),
    "BAD_REQUEST": (Evidence.REFUSED_FINAL, _FAULT),
}
STATES = {"WAITING": RailStatus.PENDING, "PAID": RailStatus.SUCCEEDED, "FAILED": RailStatus.FAILED}
REASONS = {
    "NO_FUNDS": Failure(FailureCode.INSUFFICIENT_FUNDS),
    "REFUSED": Failure(FailureCode.PAYER_DECLINED),
}


def judge_send(answer: Exchange | TransportFailure) -> SendAnswer:
    """The toy's own word first; without one nothing is proven."""
    if isinstance(answer, TransportFailure):
        return SendAnswer(evidence=answer.evidence, failure=_AWAY, provider_code=answer.fault)
    word = (answer.json_object() or {}).get("code")
    evidence, failure = SENDS.get(word if isinstance(word, str) else "", (Evidence.AMBIGUOUS, _FAULT))
    return SendAnswer(
        evidence=evidence, failure=failure, duplicate=word == "HAD_IT", http_status=answer.status
    )


def judge_status(answer: Exchange | TransportFailure, reference: str) -> StatusAnswer:
    """What cannot be read, or speaks of another reference, is no information."""
    told = {} if isinstance(answer, TransportFailure) else answer.json_object() or {}
    named = told.get("reference")
    if named is None:
        return no_information("unreadable")
    if named != reference:
        return wrong_reference(named)
    if told.get("code") == "UNKNOWN":
        return StatusAnswer(status_at_rail=RailStatus.NOT_FOUND)
    status_at_rail = STATES.get(str(told.get("state")), RailStatus.NO_INFORMATION)
    failed = status_at_rail is RailStatus.FAILED
    return StatusAnswer(
        status_at_rail=status_at_rail,
        reference=reference,
        failure=REASONS.get(str(told.get("reason")), _FAULT) if failed else None,
        amount=pesewas(told.get("amount")) if status_at_rail is RailStatus.SUCCEEDED else None,
    )
