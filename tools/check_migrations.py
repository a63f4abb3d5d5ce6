"""Checks that migrations hold up no payment and break no process of the former release: `make check` runs it.

squawk knows the rules. It reads the way up only: the way down is for a developer's own database. What this
table excuses is released, so it cannot change; a new migration gets no line here.
"""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
MIGRATIONS = ROOT / "src" / "synccash" / "stores" / "postgres" / "migrations"
OLDEST_POSTGRES = "15"
EXCLUDED = {
    "require-lock-timeout": "the runner sets lock_timeout for every migration, and tries again",
    "require-statement-timeout": "migration_timeout_s limits the whole run",
    "prefer-robust-stmts": "a migration with a transaction leaves nothing behind; the others are INDEX's",
    "prefer-bigint-over-int": "counts and limits, which 32 bits hold; ids are text or bigint",
}
"""Rules that are off for every migration, each with its reason."""

_INDEX = "require-concurrent-index-creation"
_DROP_INDEX = "require-concurrent-index-deletion"
_VALID = "constraint-missing-not-valid"
_OLD = "before installations had data of production size; docs/operating.md says what old ones do"
_SMALL = "a table of a few rows that no payment waits for"
EXCEPTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "0003_request_claims.sql": ("the table is made in the same migration", (_INDEX,)),
    "0004_payouts.sql": (
        _OLD,
        (
            _INDEX,
            _INDEX,
            _INDEX,
            _VALID,
            "ban-drop-constraint",
            "adding-field-with-default",
            "adding-foreign-key-constraint",
        ),
    ),
    "0007_never_forgotten.sql": (_OLD, (_VALID, _VALID, _VALID)),
    "0008_for_a_human.sql": (_OLD, (_INDEX, _INDEX, _INDEX, _INDEX, _INDEX, _DROP_INDEX)),
    "0009_known_money.sql": (_OLD, (_INDEX, _DROP_INDEX)),
    "0015_payouts_in_review.sql": (_OLD, (_INDEX, _INDEX, _DROP_INDEX)),
    "0016_recovery.sql": (_OLD, (_INDEX,)),
    "0017_api_key_scopes.sql": (_SMALL, (_VALID, "adding-not-nullable-field")),
    "0019_endpoint_ownership.sql": (_SMALL, (_VALID, "ban-drop-constraint")),
    "0020_encrypted_personal_data.sql": (
        "both constraints become weaker, so a former process meets them",
        ("ban-drop-constraint", "ban-drop-not-null"),
    ),
    "0021_audit_chain.sql": ("only operators' actions write to the audit log", (_INDEX, _INDEX)),
    "0022_encrypted_approvals.sql": (_SMALL, (_VALID, _VALID)),
    "0025_heap_only_updates.sql": (
        "it waits 50 ms for the lock at most, and holds it for a moment",
        (_DROP_INDEX, _DROP_INDEX),
    ),
}
"""Released migrations that break rules: the reason, and how often each rule is broken."""


def main() -> int:
    """Print what is wrong; return the exit code."""
    problems = [problem for file in sorted(MIGRATIONS.glob("*.sql")) for problem in check(file)]
    print("\n".join(problems) or "The migrations keep the rules.")
    return 1 if problems else 0


def check(file: Path) -> list[str]:
    """Return the rules that a migration breaks without an exception, and exceptions that it does not need."""
    up = file.read_text(encoding="utf-8").partition("-- migrate:down")[0]
    alone = "transaction:false" in up.partition("\n")[0]
    problems = [f"{file.name}: {text}" for text in (_not_alone(up) if alone else ())]
    found = _squawk(file.name, up, in_transaction=not alone)
    reason, rules = EXCEPTIONS.get(file.name, ("", ()))
    excused = Counter(rules)
    for violation in found:
        rule = violation["rule_name"]
        if excused[rule]:
            excused[rule] -= 1
            continue
        line = violation["line"] + 1
        problems.append(
            f"{file.name}:{line}: {rule}: {violation['message']} https://squawkhq.com/docs/{rule}"
        )
    problems += [f"{file.name}: the exception {rule} ({reason}) is not needed" for rule in excused.elements()]
    return problems


def _not_alone(up: str) -> list[str]:
    """A server runs several statements of one message in one transaction, which CONCURRENTLY refuses."""
    lines = [line for line in up.splitlines() if line and not line.startswith("--")]
    text = "\n".join(lines)
    problems: list[str] = []
    if text.count(";") != 1:
        problems.append("a migration without a transaction has one statement")
    if " CONCURRENTLY IF NOT EXISTS " not in text and "DROP INDEX CONCURRENTLY IF EXISTS " not in text:
        problems.append("only INDEX CONCURRENTLY IF [NOT] EXISTS is repeatable after a crash")
    return problems


def _squawk(name: str, up: str, *, in_transaction: bool) -> list[dict[str, object]]:
    program = Path(sys.executable).with_name("squawk")
    arguments = [
        str(program),
        "--pg-version",
        OLDEST_POSTGRES,
        "--reporter",
        "json",
        "--stdin-filepath",
        name,
    ]
    arguments += [f"--exclude={rule}" for rule in EXCLUDED]
    if in_transaction:
        arguments.append("--assume-in-transaction")
    done = subprocess.run(arguments, input=up, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode not in (0, 1) or not done.stdout.startswith("["):
        raise SystemExit(f"squawk failed for {name}: {done.stderr or done.stdout}")
    return json.loads(done.stdout)


if __name__ == "__main__":
    sys.exit(main())
