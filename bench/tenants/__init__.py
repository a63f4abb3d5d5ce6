"""A hostile merchant attacks a whole installation while another merchant pays: the other notices nothing.

`python -m bench tenants`, or `python -m bench.tenants --seconds 5 --rounds 1 --attacks bodies,callbacks`.

`synccash up` runs with its defaults, and the victim's stream is open-loop: a payment leaves when its moment
has come, and its latency counts from that moment. It makes 4 payments in a second, which its half of MTN's
limit of 10 inquiries in a second can confirm, and each has to succeed within 15 s: beside attackers that make
10 or 25 payments in a second at the same rail, only turns between merchants do that. Each round has every
attack once, all of them together once, and quiet windows among them; a ratio is that of one round, and the
table gives medians over the rounds.
The attackers are processes of lowest priority (nice 19) with bounded rates: they stand for a remote machine,
but share the cores with the service. Their CPU stands beside that of the service's roles, as does what other
programs of the machine used meanwhile. The rate that an attack achieved stands beside the rate it aimed at,
and the API's CPU above quiet, divided by the answers, is an estimate of what one attacking request costs.
The ratios between quiet windows of one round are the noise that "within 2x" is judged against.
"""

import statistics
from collections import Counter
from collections.abc import Sequence

from bench.report import Report
from bench.tenants.attacks import ATTACKS
from bench.tenants.deployment import deployed
from bench.tenants.windows import ALL, QUIET, Victim, Window, window

SECONDS, ROUNDS, PER_S = 15.0, 4, 4.0
"""Length of a window in seconds, rounds, and the victim's payments in a second: fewer than half of what MTN's
limit of inquiries (10 in a second) confirms, so that a fair share is enough beside any one attacker."""
SHARE_OF_EACH = 1 / 3
"""Of the rate of each attack, when all go on at once: at the whole rates they would ask for more CPU than one
API process has, and any service is slow then."""
P99_RATIO_BAR = 2.0
_QUIET_EVERY = 3
_TIMELINES = 3
"""Of payments that did not succeed, printed so that the cause shows."""


def run(report: Report) -> None:
    """What a merchant's payments lose while another merchant attacks."""
    measure(report, [*ATTACKS, ALL], seconds=SECONDS, rounds=ROUNDS, per_s=PER_S, share=SHARE_OF_EACH)


def measure(
    report: Report, attacks: Sequence[str], *, seconds: float, rounds: int, per_s: float, share: float
) -> bool:
    """Run all rounds, print the tables; True when the bars are met. `share`: of each rate in `all`."""
    windows: list[Window] = []
    with deployed() as deployment:
        victim = Victim(deployment, per_s)
        deployment.seed()
        victim.pay("warm up", 0, 3)
        for round_number in range(rounds):
            for name in _order(attacks, round_number):
                windows.append(window(deployment, victim, name, round_number, seconds, share))
                print(".", end="", flush=True)
        print()
        ends = deployment.ends()
        for lost in [payment_id for payment_id, end in ends.items() if end != "succeeded"][:_TIMELINES]:
            print(f"\n{lost}: {ends[lost]}\n{deployment.timeline(lost)}")
        for one in windows:
            one.ends = Counter(ends[payment_id] for payment_id in one.payment_ids)
    return _tell(report, windows, [QUIET, *attacks], f"{per_s:g} payments/s, {rounds} x {seconds:g} s each")


def _order(attacks: Sequence[str], round_number: int) -> list[str]:
    """Return the windows of a round: it begins with another attack each time, and quiet stands in between."""
    start = round_number * 5 % len(attacks)
    names: list[str] = []
    for count, name in enumerate([*attacks[start:], *attacks[:start]]):
        names += [QUIET, name] if count % _QUIET_EVERY == 0 else [name]
    return names


def _tell(report: Report, windows: Sequence[Window], names: Sequence[str], what: str) -> bool:
    # The median of the windows: one that another program of the machine disturbed does not excuse an attack.
    quiet_p99 = {
        number: statistics.median(
            one.quantile_ms(0.99) for one in windows if (one.name, one.round) == (QUIET, number)
        )
        for number in {one.round for one in windows}
    }
    quiet_api = statistics.median(one.cpu["api"] for one in windows if one.name == QUIET)
    met, rows, cpu_rows, rate_rows = True, *(list[Sequence[object]]() for _ in range(3))
    for name in names:
        those = [one for one in windows if one.name == name]
        asked = sum(len(one.latencies_s) for one in those)
        share = sum(one.ends["succeeded"] for one in those) / asked
        p50, p99 = (statistics.median(one.quantile_ms(q) for one in those) for q in (0.5, 0.99))
        ratios = sorted(one.quantile_ms(0.99) / quiet_p99[one.round] for one in those)
        ratio = statistics.median(ratios)
        wrong = sum(count for one in those for status, count in one.statuses.items() if status != 201)
        met &= share == 1.0 and (name == QUIET or ratio <= P99_RATIO_BAR)
        rows.append(
            (
                name,
                f"{share:.1%}",
                wrong,
                f"{p50:.0f}",
                f"{p99:.0f}",
                f"{ratio:.2f}",
                f"{ratios[0]:.2f}-{ratios[-1]:.2f}",
                f"{max(one.driver_late_s for one in those) * 1_000:.0f}",
                _counts(Counter(block.process for one in those for block in one.blocked)),
                _counts(sum((one.answers for one in those), Counter())),
            )
        )
        cpu = {role: statistics.median(one.cpu[role] for one in those) for role in those[0].cpu}
        cpu_rows.append((name, *(f"{used:.0%}" for used in cpu.values())))
        if name != QUIET:
            rate = statistics.median(one.answered_per_s for one in those)
            extra_us = (cpu["api"] - quiet_api) / rate * 1e6 if rate else 0.0
            aimed = statistics.median(one.aimed_per_s for one in those)
            rate_rows.append((name, f"{aimed:.0f}", f"{rate:.0f}", f"{extra_us:.0f}"))
            report.add(f"{name}.attack_rate", rate, "1/s", ratio=rate / aimed)
        report.add(f"{name}.succeeded", share, "share")
        report.add(f"{name}.p50", p50, "ms")
        report.add(f"{name}.p99", p99, "ms", ratio=ratio)
        report.add(f"{name}.attacker_cpu", cpu["attacker"], "cores")
        report.add(f"{name}.api_cpu", cpu["api"], "cores")
    report.table(
        f"The victim's payments: {what}; MTN takes 10 inquiries/s; 100 % succeed within 15 s, p99 at most "
        f"{P99_RATIO_BAR:g} x quiet",
        (
            "",
            "succeeded",
            "not 201",
            "p50, ms",
            "p99, ms",
            "x quiet",
            "range",
            "late, ms",
            "loops blocked",
            "answers",
        ),
        rows,
    )
    lost = [(one.name, one.round, _counts(one.ends)) for one in windows if set(one.ends) - {"succeeded"}]
    if lost:
        report.table("Windows in which not all payments succeeded", ("", "round", "ends"), lost)
    blocks = [(one.name, block) for one in windows for block in one.blocked]
    if blocks:
        report.table(
            "Event loops that were blocked for 250 ms or longer",
            ("", "process", "ms", "line"),
            [(name, block.process, block.took_ms, block.where) for name, block in blocks],
        )
    if rate_rows:
        report.table(
            "The attack's requests: rates, and the API's CPU above quiet for each",
            ("", "aimed at, 1/s", "answered, 1/s", "CPU for each, us"),
            rate_rows,
        )
    report.table("CPU, share of one core", ("", *windows[0].cpu), cpu_rows)
    print("\ntenants:", "all bars met" if met else "A BAR IS MISSED")
    return met


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{count} x {name}" for name, count in sorted(counts.items())) or "0"
