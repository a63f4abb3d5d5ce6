"""`synccash demo`: runs an installation on this machine, and checks its payments by the sandbox's books."""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synccash.local.free_ports import SANDBOX_PORTS, free_run_of_ports
from synccash.local.status_lines import StatusLines

Json = dict[str, Any]
MTN_NUMBERS = "02412345{:02d}"
TIMEOUT_S = 60.0


class DemoError(Exception):
    """A check of the demo failed."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """One HTTP response."""

    status: int
    headers: dict[str, str]
    body: Json


def call(method: str, url: str, body: Json | None = None, **headers: str) -> HttpResponse:
    """Make one HTTP request to this machine."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, method=method)  # noqa: S310 - our own loopback address
    request.add_header("Content-Type", "application/json")
    for name, value in headers.items():
        request.add_header(name.replace("_", "-"), value)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:  # noqa: S310
            return _response(reply.status, reply.headers.items(), reply.read())
    except urllib.error.HTTPError as error:
        with error:
            return _response(error.code, error.headers.items(), error.read())


def _response(status: int, headers: Any, raw: bytes) -> HttpResponse:
    return HttpResponse(status, {k.lower(): v for k, v in headers}, json.loads(raw) if raw else {})


@contextlib.contextmanager
def progress(text: str) -> Generator[None]:
    """Show that something goes on: on a terminal for how long, elsewhere with a line every few seconds."""
    if not sys.stdout.isatty():
        lines = StatusLines(lambda line: print(line, flush=True))
        lines.show(f"   … {text}")
        try:
            yield
        finally:
            lines.stop()
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console()
    columns = (TextColumn("  "), SpinnerColumn(), TextColumn(text), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        shown.add_task(text, total=None)
        yield


def wait_until(what: str, poll: Callable[[], bool]) -> None:
    """Poll until `poll` returns True. Raises DemoError after 60 s."""
    end = time.monotonic() + TIMEOUT_S
    with progress(f"waiting until {what}"):
        while time.monotonic() < end:
            if poll():
                return
            time.sleep(0.1)
    raise DemoError(f"timed out after {TIMEOUT_S:.0f} s waiting until {what}")


@dataclass(slots=True)
class Demo:
    """A running `synccash up`, and the payments that the demo made."""

    api: str
    sandbox: str
    key: str = field(repr=False)
    admin_key: str = field(repr=False)
    payments: list[str]

    def pay(
        self,
        number: str,
        amount: int,
        *,
        key: str | None = None,
        reference: str | None = None,
        rail: str | None = None,
    ) -> HttpResponse:
        """Request a payment; `rail` restricts it to one rail."""
        body: Json = {
            "amount": amount,
            "currency": "GHS",
            "payer": {"msisdn": number},
            "reference": reference or f"order-{uuid.uuid4().hex[:8]}",
        }
        if rail is not None:
            body["rail"] = rail
        answer = self.post("/payments", body, key or uuid.uuid4().hex)
        expect(answer.status in (201, 202), f"POST /payments answered {answer.status}: {answer.body}")
        return answer

    def post(self, path: str, body: Json, key: str) -> HttpResponse:
        """POST with our key and an idempotency key."""
        return call("POST", self.api + path, body, Authorization=f"Bearer {self.key}", Idempotency_Key=key)

    def get(self, path: str) -> Json:
        """GET with our key."""
        answer = call("GET", self.api + path, Authorization=f"Bearer {self.key}")
        expect(answer.status == 200, f"GET {path} answered {answer.status}: {answer.body}")
        return answer.body

    def operate(self, method: str, path: str, body: Json | None = None) -> Json:
        """Call the management API with the admin key."""
        answer = call(method, self.api + path, body, Authorization=f"Bearer {self.admin_key}")
        expect(answer.status == 200, f"{method} {path} answered {answer.status}: {answer.body}")
        return answer.body

    def settled(self, payment_id: str) -> bool:
        """Return True once the payment has ended."""
        return self.get(f"/payments/{payment_id}")["status"] in ("succeeded", "failed", "canceled")

    def succeed(self, *ids: str) -> None:
        """Wait until payments succeed, and record them for the audit. Raises DemoError if one does not."""
        wait_until("every payment ends", lambda: all(self.settled(i) for i in ids))
        for payment_id in ids:
            status = self.get(f"/payments/{payment_id}")["status"]
            expect(status == "succeeded", f"{payment_id} ended {status}")
        self.payments.extend(ids)

    def wait_for_operator(self, payment_id: str, why: str) -> None:
        """Wait until a payment waits for an operator for this reason, and say so. Raises DemoError."""

        def waits() -> bool:
            found = self.operate("GET", "/admin/waiting")["data"]
            return (payment_id, why) in [(one["id"], one["why"]) for one in found]

        wait_until(f"{payment_id} waits for an operator", waits)
        print(f"   {payment_id} waits in {why}")

    def debits(self) -> Counter[str]:
        """Return how often each reference was debited, by the sandbox's books of all rails."""
        rails = call("GET", f"{self.sandbox}/").body["rails"]
        books = [call("GET", f"{self.sandbox}/control/{rail}/book").body for rail in rails]
        return Counter(plain(debit["reference"]) for book in books for debit in book["debits"])

    def faults(self, **faults: Any) -> None:
        """Set faults at MTN; without arguments, clear them."""
        method = "PUT" if faults else "DELETE"
        answer = call(method, f"{self.sandbox}/control/mtn_momo/faults", faults or None)
        expect(answer.status < 300, f"faults answered {answer.status}: {answer.body}")

    def timeline(self, payment_id: str) -> None:
        """Print the timeline of a payment."""
        payment = self.get(f"/payments/{payment_id}")
        print(f"   timeline of {payment_id} ({payment['status']}, {len(payment['attempts'])} attempt(s)):")
        for entry in self.get(f"/payments/{payment_id}/timeline")["data"]:
            facts = {k: v for k, v in entry.items() if k not in ("at", "kind", "considered", "attempt")}
            shown = ", ".join(f"{k} {v}" for k, v in facts.items() if v is not None)
            print(f"     {entry['at'][11:23]}  {entry['kind']:<14} {shown}")


def expect(condition: object, message: str) -> None:
    """Raise DemoError with the message unless the condition is true."""
    if not condition:
        raise DemoError(message)


def healthy_payment(demo: Demo) -> None:
    """Make a payment, repeat the request, and refund part of it."""
    print("\n1. A payment, and the same request again")
    key, reference = uuid.uuid4().hex, "order-1001"
    first = demo.pay("0241234567", 2500, key=key, reference=reference)
    payment = first.body
    print(f"   {first.status} {payment['id']} {payment['status']} / {payment['status_detail']}")
    again = demo.pay("0241234567", 2500, key=key, reference=reference)
    expect(again.body == payment, "the repeat got another answer")
    expect(again.headers.get("idempotent-replayed") == "true", "the repeat was not marked as a replay")
    print(f"   {again.status} the same bytes, Idempotent-Replayed: true")
    demo.succeed(payment["id"])
    demo.timeline(payment["id"])

    print("\n2. A refund of 5.00, and one that is more than what is left")
    refund = demo.post(f"/payments/{payment['id']}/refunds", {"amount": 500}, uuid.uuid4().hex)
    expect(refund.status in (201, 202), f"the refund answered {refund.status}: {refund.body}")
    path = f"/refunds/{refund.body['id']}"
    wait_until("the refund succeeds", lambda: demo.get(path)["status"] == "succeeded")
    too_much = demo.post(f"/payments/{payment['id']}/refunds", {"amount": 2100}, uuid.uuid4().hex)
    expect(too_much.status == 409, f"a refund above what is left answered {too_much.status}")
    print(f"   {refund.body['id']} succeeded; the other: 409 {too_much.body['detail']}")


def mtn_outages(demo: Demo) -> None:
    """MTN books payments and loses its answers, then drops requests before booking them, then is down."""
    for title, fault in (
        ("3. MTN books the payments, and its answers are lost", {"drop": "after_commit"}),
        ("4. The connections die before MTN books anything", {"drop": "before_commit"}),
        ("5. MTN is down, and no other rail is allowed", {"down": True}),
    ):
        print(f"\n{title}")
        demo.faults(**fault)
        # Three payments: MTN's breaker opens at the third failure and would block a fourth.
        answers = [demo.pay(MTN_NUMBERS.format(n), 1000 + n, rail="mtn_momo") for n in range(3)]
        for answer in answers:
            payment = answer.body
            print(f"   {answer.status} {payment['id']} {payment['status']} / {payment['status_detail']}")
        demo.faults()
        demo.succeed(*(answer.body["id"] for answer in answers))
        demo.timeline(answers[0].body["id"])
        reset_breaker(demo)


def reset_breaker(demo: Demo) -> None:
    """Close MTN's breaker at once, instead of waiting for its probe."""
    path = "/resilience/circuit-breakers/mtn_momo"
    state = demo.operate("GET", path)["state"]
    if state != "closed":
        demo.operate("POST", f"{path}/reset")
        wait_until("MTN's breaker is closed", lambda: demo.operate("GET", path)["state"] == "closed")
    print(f"   MTN's breaker was {state}; now it is closed")


def failover_from_mtn(demo: Demo) -> None:
    """MTN is down: a payment without a fixed rail uses another rail, and is debited only there."""
    print("\n6. MTN is down, and a payment goes round it")
    demo.faults(down=True)
    payment_id = demo.pay(MTN_NUMBERS.format(50), 5000).body["id"]
    demo.succeed(payment_id)
    demo.faults()
    payment = demo.get(f"/payments/{payment_id}")
    tried = [attempt["rail"] for attempt in payment["attempts"]]
    expect(payment["rail"] != "mtn_momo", f"it went over {tried}")
    known = "could not be reached" if "mtn_momo" in tried else "was unhealthy and was not asked"
    print(f"   MTN {known}, {payment['rail']} collected it")
    demo.timeline(payment_id)


def risky_payments(demo: Demo) -> None:
    """The fraud service sends one payment to manual review, and declines another."""
    print("\n7. The fraud service: 6,000 GHS wait for an operator, 10,000 GHS are declined")
    held = demo.pay(MTN_NUMBERS.format(60), 600_000).body["id"]
    path = f"/payments/{held}"
    wait_until("the payment waits", lambda: demo.get(path)["status_detail"] == "risk_review")
    print(f"   {held} waits in risk_review; the operator approves it")
    demo.operate("POST", f"{path}/approve", {"reason": "a known buyer"})
    demo.succeed(held)
    demo.timeline(held)
    declined = demo.pay(MTN_NUMBERS.format(61), 1_000_000).body["id"]
    wait_until("the other ends", lambda: demo.settled(declined))
    ended = demo.get(f"/payments/{declined}")
    expect(ended["status"] == "failed" and not ended["attempts"], f"the other ended {ended}")
    print(f"   {declined} failed: {ended['last_error']['code']}, nothing was sent")


def fill_queues(demo: Demo) -> None:
    """Leave orders in each queue of the console that a rail can cause, and some that wait for a rail."""
    print("\n9. Orders for the console, which an operator has to decide about")
    held = demo.pay(MTN_NUMBERS.format(70), 600_000).body["id"]
    demo.wait_for_operator(held, "risk_review")
    demo.faults(other_amount_rate=1.0)
    demo.wait_for_operator(
        demo.pay(MTN_NUMBERS.format(71), 3_100, rail="mtn_momo").body["id"], "under_review"
    )
    demo.faults(failed_then_success_rate=1.0, late_success_after_ms=500)
    late = demo.pay(MTN_NUMBERS.format(72), 3_200, rail="mtn_momo").body["id"]
    wait_until("that payment fails", lambda: demo.settled(late))
    wait_until("MTN, asked again, says that it was paid", lambda: contradicts(demo, late))
    print(f"   {late} failed at MTN, and was paid after all")
    demo.faults(down=True)
    for number in range(3):
        order = demo.pay(MTN_NUMBERS.format(80 + number), 1000, rail="mtn_momo").body["id"]
        print(f"   {order} waits for MTN, which is down")


def contradicts(demo: Demo, payment_id: str) -> bool:
    """Have the rail asked about a payment; return True once its answer contradicts an earlier one."""
    demo.operate("POST", f"/admin/orders/{payment_id}/inquire", {"reason": "the payer says that it was paid"})
    return payment_id in [one["id"] for one in demo.operate("GET", "/admin/contradictions")["data"]]


def run_on(process: subprocess.Popen[str], base: str, admin_key: str, sandbox: str) -> None:
    """Say how to look around, and wait until `up` ends or Ctrl-C."""
    print(f"""
Everything runs on until Ctrl-C. The console's link is above; it works once. In another terminal:
   export SYNCCASH_API_URL={base} SYNCCASH_ADMIN_KEY={admin_key}
   synccash payments waiting
   synccash breakers
   curl -X DELETE {sandbox}/control/mtn_momo/faults      # MTN works again""")
    with contextlib.suppress(KeyboardInterrupt):
        process.wait()


def plain(reference: str) -> str:
    """Return a reference without hyphens, since some rails do not accept them."""
    return reference.replace("-", "")


def audit(demo: Demo) -> str:
    """Compare our payments with the sandbox's books and return a summary. Raises DemoError."""
    debits = demo.debits()
    ours: Counter[str] = Counter()
    for payment_id in demo.payments:
        for attempt in demo.get(f"/payments/{payment_id}")["attempts"]:
            ours[payment_id] += debits.pop(plain(attempt["reference"]), 0)
    duplicates = sum(count - 1 for count in ours.values() if count > 1)
    expect(duplicates == 0, f"{duplicates} duplicate debits: {ours}")
    expect(all(ours[i] == 1 for i in demo.payments), f"payments without exactly one debit: {ours}")
    expect(not debits, f"debits that belong to no payment: {debits}")
    return f"{len(demo.payments)} payments, {sum(ours.values())} debits, {duplicates} duplicates"


def start(folder: Path, port: int, sandbox_port: int) -> subprocess.Popen[str]:
    """Start `synccash up` on this machine."""
    command = [sys.executable, "-m", "synccash.cli", "up", "--port", str(port), "--requests", "off"]
    command += ["--sandbox-port", str(sandbox_port), "--data-dir", str(folder / "data")]
    return subprocess.Popen(  # noqa: S603 - our own command
        command, stdout=subprocess.PIPE, stderr=(folder / "up.log").open("w"), text=True, bufsize=1
    )


def printed_keys(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Read the output of `up` until the test key and the admin key, and return both."""
    keys: list[str] = []
    for line in process.stdout or ():
        print("   " + line.rstrip())
        keys += [word for word in line.split() if word.startswith(("sk_test_", "sk_admin_"))]
        if len(keys) == 2:
            return keys[0], keys[1]
    raise DemoError("synccash up ended before it printed its keys")


def main(*, stay: bool = False) -> int:
    """Run the demo and return the exit code, 0 only if every check passed. `stay`: go on until Ctrl-C."""
    output: object = sys.stdout
    if isinstance(output, io.TextIOWrapper):
        output.reconfigure(line_buffering=True)  # a pipe or a log gets each line at once
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # it stops `up`, as Ctrl-C does
    for name in ("SYNCCASH_DATABASE_URL", "SYNCCASH_VALKEY_URL"):
        os.environ.pop(name, None)
    folder = Path(tempfile.mkdtemp(prefix="synccash-demo-"))
    folder.chmod(0o711)  # root's databases run as another user, which must traverse it
    port = free_run_of_ports(1 + SANDBOX_PORTS)
    sandbox_port = port + 1
    began = time.monotonic()
    process = start(folder, port, sandbox_port)
    result = None
    try:
        print("Starting PostgreSQL, Valkey, the API, a worker, webhooks and the sandbox rails")
        with progress("the first start makes the databases"):
            key, admin_key = printed_keys(process)
        base = f"http://127.0.0.1:{port}"
        demo = Demo(base + "/api/v1", f"http://127.0.0.1:{sandbox_port}", key, admin_key, [])
        wait_until("the service is ready", lambda: ready(base, process))
        print(f"   ready after {time.monotonic() - began:.1f} s (first start: databases are made)")
        healthy_payment(demo)
        mtn_outages(demo)
        failover_from_mtn(demo)
        risky_payments(demo)
        print("\n8. The sandbox's own books against our payments")
        result = audit(demo)
        if stay:
            print(f"   {result}")
            fill_queues(demo)
            run_on(process, base, admin_key, demo.sandbox)
    except (DemoError, OSError) as error:
        result = None
        print(f"\ndemo failed: {error}\nthe log of `synccash up` is in {folder}", file=sys.stderr)
    finally:
        process.send_signal(signal.SIGTERM)
        stopped = process.wait(timeout=30)
    if result is None or stopped != 0:
        print(f"synccash up ended with exit {stopped}", file=sys.stderr)
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    print(f"   stopped cleanly\ndemo ok: {result}")
    return 0


def ready(base: str, process: subprocess.Popen[str]) -> bool:
    """Return True once the service accepts payments. Raises DemoError if it has ended."""
    expect(process.poll() is None, f"synccash up ended with exit {process.returncode}")
    try:
        return call("GET", f"{base}/health/ready").status == 200
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
