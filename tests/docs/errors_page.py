"""Writes docs/errors.md from the table of problem codes: `python tests/docs/errors_page.py`."""

from http import HTTPStatus
from pathlib import Path

from synccash.api.openapi.problem_codes import PROBLEM_CODES, ProblemCode

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
HEAD = """\
# Problems
Generated from `api/openapi/problem_codes.py` by `python tests/docs/errors_page.py`; a test compares them.

Every error is `application/problem+json` (RFC 9457). A program acts on `code`, and on `retryable`; a person
reads `detail`, which names the object, the field and the values. `request_id` finds the request in the log.
`type` is `urn:synccash:problem:` and the code: a name, not an address. `doc_url` is the page of the code, at
the service that answered: `/docs/problems#rate_limit_exceeded`. Each code is an anchor there and on this page
(`errors.md#rate_limit_exceeded`), and never changes.

A payment that failed is no problem of this kind: its `last_error` says why. After a one-time password that
the provider refused, the payment still `requires_action`, and its `last_error` has the code `otp_refused`.

After a 5xx, or no answer at all,
repeat the same request with the same Idempotency-Key: money moves once.

| status | codes |
|---|---|
"""


def page() -> str:
    """Return the page."""
    statuses = sorted({status for problem in PROBLEM_CODES.values() for status in problem.statuses})
    rows = "".join(_row(status) for status in statuses)
    return HEAD + rows + "".join(_section(code, problem) for code, problem in PROBLEM_CODES.items())


def _row(status: int) -> str:
    codes = [code for code, problem in PROBLEM_CODES.items() if status in problem.statuses]
    return f"| {_named(status)} | {', '.join(f'[`{code}`](#{code})' for code in codes)} |\n"


def _section(code: str, problem: ProblemCode) -> str:
    statuses = ", ".join(_named(status) for status in problem.statuses)
    return (
        f"\n## `{code}`\nStatus {statuses}.\n\n"
        f"**Cause.** {problem.cause}\n\n**What to do.** {problem.remedy}\n"
    )


def _named(status: int) -> str:
    return f"{status} {HTTPStatus(status).phrase}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
