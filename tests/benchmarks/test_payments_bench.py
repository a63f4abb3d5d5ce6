"""`python -m bench.payments` measures a whole service beside its floor, and refuses a floor that is dear."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CHEAP_FLOOR = "print('floor c=4: 9000/s, p50 1.0 p99 1.0 ms; CPU us a payment: service 1, postgres 1')"
SHORT = "--rounds 1 --seconds 0.3 --warm-up 0 --flush 0 --callers 4 --per-s 10 --contenders service,floor"

POSITIVE = ("rate", "p50", "p95", "p99", "drain", "api_rss", "postgres_rss")
COUNTED = ("service_cpu", "postgres_cpu", "load_cpu", "transactions", "wal_bytes", "wal_records", "hot_share")
"""Figures of counters that may not have moved in so short a run."""


def test_a_run_measures_service_and_floor_and_is_invalid_beside_a_much_cheaper_floor(tmp_path: Path):
    frozen = tmp_path / "frozen_floor.py"
    frozen.write_text(CHEAP_FLOOR, encoding="utf-8")
    argv = [sys.executable, "-m", "bench.payments", *SHORT.split(), "--out", str(tmp_path)]
    ended = subprocess.run(
        [*argv, "--frozen-floor", str(frozen)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert "THIS RUN IS INVALID" in ended.stdout, ended.stdout
    assert ended.returncode == 1
    numbers = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert numbers["payments.valid"]["value"] == 0
    for contender in ("service", "floor"):
        for load in ("closed 4", "open 10/s"):
            figures = {name: numbers[f"payments.{contender}.{load}.{name}"]["value"] for name in POSITIVE}
            assert all(value > 0 for value in figures.values()), figures
            assert {f"payments.{contender}.{load}.{name}" for name in COUNTED} <= numbers.keys()
    assert numbers["payments.service.closed 4.rate"]["ratio"] > 0


def test_other_forms_of_the_service_are_compared_with_it(tmp_path: Path):
    added = (
        "--preload 200 --processes 2 --pgbouncer --rounds 1 --seconds 0.5 --warm-up 1 --flush 0 --callers 4"
    )
    argv = [sys.executable, "-m", "bench.payments", *added.split(), "--per-s", "", "--out", str(tmp_path)]
    ended = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert ended.returncode == 0, ended.stdout
    assert "Payments a second for each core" in ended.stdout
    numbers = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    forms = ["200 stored", "2 + 2 processes"]
    forms += [] if "pgbouncer is skipped" in ended.stdout else ["pgbouncer"]
    for form in forms:
        assert numbers[f"payments.{form}.closed 4.per_s_a_core"]["value"] > 0
        assert f"payments.{form}.closed 4.service_cpu_to_service" in numbers


def test_memory_and_tables_are_shown_as_payments_are_made(tmp_path: Path):
    argv = [sys.executable, "-m", "bench.payments", "--payments", "200", "--out", str(tmp_path)]
    ended = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert ended.returncode == 0, ended.stdout
    assert "Memory after so many payments" in ended.stdout
    numbers = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert numbers["payments.growth.api_rss_end"]["value"] > 0
