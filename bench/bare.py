"""The service without its policies, for comparison: `python -m bench.bare` in place of `synccash`.

The same code sends, asks and stores, under the same invariants. What is taken away: the breaker never
refuses, a send is tried once, no other rail is tried, and nothing is held for later; a payment whose send
did nothing has failed. What became of a send without an answer is still found out. The product has no such
switch.
"""

from dataclasses import replace
from typing import Any

from synccash.cli import main
from synccash.engine.progress.decisions import Decisions
from synccash.engine.progress.order_worker import OrderWorker
from synccash.payments.attempt import Attempt
from synccash.payments.case import Case, Commit, Entry, ReleaseLease
from synccash.payments.failure import Failure, FailureCode
from synccash.payments.lifecycle import failed
from synccash.processes.assembly import registry
from synccash.resilience.retry import Retry

_REFUSED = Failure(FailureCode.PROVIDER_UNAVAILABLE)


def strip() -> None:
    """Take the policies away, in this process."""
    profile = registry.PROFILES["*"]
    bare = replace(profile, retry=Retry(attempts=1), breaker=replace(profile.breaker, mode="disabled"))
    registry.PROFILES = {**registry.PROFILES, "*": bare}
    Decisions._fail_over = lambda self, case, dead, entry: None  # noqa: ARG005
    OrderWorker._has_other_rail = lambda self, case, attempt: False  # noqa: ARG005
    Decisions._queue = _fail


def _fail(self: Decisions, case: Case, after: Attempt, requested_s: float | None, entry: Entry) -> Commit:
    del requested_s
    order: Any = failed(case.order, after.failure or _REFUSED, now=self.clock.now())
    return self.commit_builder.commit(case, order, after, lease=ReleaseLease(None), timeline=(entry,))


if __name__ == "__main__":
    strip()
    main()
