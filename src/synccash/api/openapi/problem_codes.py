"""All problem codes of the HTTP API: the statuses they come with, what they mean, and what to do.

`docs` takes the codes of each status from this table, so a new code has to be added here.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProblemCode:
    """One code. `cause` is what has happened, `remedy` what the caller can do."""

    statuses: tuple[int, ...]
    cause: str
    remedy: str


PROBLEM_CODES: Mapping[str, ProblemCode] = {
    "malformed_request": ProblemCode(
        (400,), "The request is not valid HTTP, or its body is not JSON.", "Correct the request."
    ),
    "idempotency_key_invalid": ProblemCode(
        (400,),
        "The Idempotency-Key is missing or invalid, or two different ones were sent.",
        "Send one Idempotency-Key of 1 to 255 visible ASCII characters.",
    ),
    "api_key_missing": ProblemCode(
        (401,), "No API key was sent.", "Send the key as Authorization: Bearer sk_…"
    ),
    "api_key_unknown": ProblemCode(
        (401,), "The API key does not exist or was revoked.", "Use a valid key, or ask the operator for one."
    ),
    "sign_in_refused": ProblemCode(
        (401,),
        "The name, the password or the code is wrong or expired, or the code was used before.",
        "Sign in again with the present code.",
    ),
    "insufficient_scope": ProblemCode(
        (403,), "The key does not have the scope of this call.", "Use a key that has it."
    ),
    "address_not_allowed": ProblemCode(
        (403,), "The key may not be used from this address.", "Use an address of the key's list."
    ),
    "second_operator_needed": ProblemCode(
        (403,),
        "The caller may not do this alone, or may not be the second operator.",
        "Have another operator do it.",
    ),
    "forbidden": ProblemCode(
        (403,),
        "The key is of the wrong kind for this call: a merchant's or an operator's.",
        "Use the other kind of key.",
    ),
    "merchant_suspended": ProblemCode(
        (403,), "The operator has suspended the merchant: no new orders are accepted.", "Ask the operator."
    ),
    "not_found": ProblemCode(
        (404,),
        "Nothing is found: no such route or object, or one of another merchant or mode.",
        "Check the path, the id, and the mode of the key.",
    ),
    "method_not_allowed": ProblemCode(
        (405,), "The path does not have this method.", "Use a method of the Allow header."
    ),
    "body_too_slow": ProblemCode(
        (408,), "The body did not arrive in time; nothing was done.", "Send the request again."
    ),
    "idempotency_key_in_progress": ProblemCode(
        (409,),
        "The first request with this Idempotency-Key is still running.",
        "Repeat the request after Retry-After seconds.",
    ),
    "reference_already_used": ProblemCode(
        (409,),
        "The merchant has an order with this reference, or a refund with this key.",
        "Read the order that the problem names, or choose another reference or key.",
    ),
    "approval_pending": ProblemCode(
        (409,), "The same action already waits for a second operator.", "Have the approval decided."
    ),
    "otp_tries_exceeded": ProblemCode(
        (409,),
        "As many one-time passwords as the payment takes were submitted.",
        "Wait for the outcome, or open a new payment once it has ended.",
    ),
    "payment_in_flight": ProblemCode(
        (409,),
        "The payment cannot be canceled: an attempt may already be moving money.",
        "Wait for the outcome; if the payment succeeds, refund it.",
    ),
    "state_conflict": ProblemCode(
        (409,), "The object is in a state that does not allow this.", "Read the object and its status."
    ),
    "insufficient_balance": ProblemCode(
        (409,),
        "The available balance does not cover the refund or payout; nothing was created.",
        "Repeat the same request when the balance is sufficient.",
    ),
    "webhook_endpoint_limit": ProblemCode(
        (409,), "The merchant has the maximum number of webhook endpoints.", "Delete or change one."
    ),
    "body_too_large": ProblemCode((413,), "The body is too large.", "Send a smaller one."),
    "unsupported_media_type": ProblemCode(
        (415,), "The Content-Type is not supported.", "Send Content-Type: application/json."
    ),
    "unsupported_content_encoding": ProblemCode(
        (415,), "The body is compressed.", "Send it as it is, without Content-Encoding."
    ),
    "invalid_request": ProblemCode(
        (422,),
        "Fields or parameters are missing, unknown or invalid; `errors` lists all of them.",
        "Correct the fields that `errors` names.",
    ),
    "idempotency_key_reused": ProblemCode(
        (422,),
        "The Idempotency-Key was already used with a different request.",
        "Use a new key for a new request.",
    ),
    "no_rail_for_mode": ProblemCode(
        (422,),
        "No rail with an account of the key's mode can take the order.",
        "Use a key of the other mode, or ask the operator.",
    ),
    "rate_limit_exceeded": ProblemCode(
        (429,), "A rate limit is exceeded.", "Repeat the request after Retry-After seconds."
    ),
    "rate_limit_blocked": ProblemCode(
        (429,),
        "The caller is blocked, by an operator or after it exceeded a limit many times.",
        "Repeat the request after Retry-After seconds.",
    ),
    "sign_in_throttled": ProblemCode(
        (429,),
        "Too many sign-ins have failed for this name or from this address.",
        "Sign in again after Retry-After seconds.",
    ),
    "headers_too_large": ProblemCode(
        (431,), "The request line and headers are too large.", "Send smaller ones."
    ),
    "internal_error": ProblemCode(
        (500,),
        "The service failed to handle the request; it may or may not have been done.",
        "Repeat it with the same Idempotency-Key; if the error persists, contact the operator.",
    ),
    "order_unreadable": ProblemCode(
        (500,),
        "This version of the service cannot read the order; nothing was changed.",
        "Repeat the request later; if the error persists, contact the operator.",
    ),
    "service_unavailable": ProblemCode(
        (503,),
        "The database is unreachable; nothing was decided.",
        "Repeat the request after Retry-After seconds, with the same Idempotency-Key.",
    ),
}
"""By code."""


def codes_of(status: int) -> list[str]:
    """Return the codes that come with an HTTP status, in alphabetical order."""
    return sorted(code for code, problem in PROBLEM_CODES.items() if status in problem.statuses)
