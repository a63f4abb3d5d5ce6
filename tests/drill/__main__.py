"""The long run: `python -m drill --scripts 1000 [--from 60] [--tell]`, from tests/."""

import argparse
import asyncio
import contextlib
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

from drill.occurrences import FAULTS
from drill.runs import ANY, Judged, judge_all
from servers_fixture import CREDIT, execute
from synccash.servers.bundle import start_servers
from synccash.stores.postgres.schema.migrations import migrate


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--scripts", type=int, default=1_000, help="how many")
    asked.add_argument("--from", dest="first", type=int, default=0, help="the first seed")
    asked.add_argument("--at-once", type=int, default=8, help="how many side by side")
    asked.add_argument("--repeat", type=int, default=1, help="how often each: a race shows in some runs only")
    asked.add_argument("--tell", action="store_true", help="say what happened in bad ones")
    options = asked.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="synccash-drill-"))
    folder.chmod(0o711)
    with start_servers(folder, durable=False, valkey=False) as servers:
        url = servers.database_url
        assert url is not None
        migrate(url)
        execute(url, CREDIT)
        # The servers' own database is the template: no connection to it may be open meanwhile.
        admin = urlsplit(url)._replace(path="/postgres").geturl()
        began = time.perf_counter()
        seeds = [*range(options.first, options.first + options.scripts)] * options.repeat
        judged = Judged()
        # What has been played counts, also when somebody has seen enough.
        with (
            contextlib.suppress(KeyboardInterrupt),
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            runner.run(
                judge_all(
                    seeds,
                    admin,
                    urlsplit(url).path[1:],
                    at_once=options.at_once,
                    tell=options.tell,
                    result=judged,
                )
            )
        took_s = time.perf_counter() - began
    bad = judged.bad
    for name in FAULTS:
        print(f"{name}: {judged.met[name]} occurrences on live traffic")
    print(f"{judged.called_again} attempts whose money was heard of only by a repeated callback")
    print(f"{judged.played} scripts in {took_s:.0f} s, {len(bad)} of them bad: {sorted(bad)}")
    print("\n".join(bad.get(ANY, ())))
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
