"""What the RateLimit fields promise is granted: clients that obey them are never refused."""

import re
from dataclasses import dataclass, field
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synccash.resilience.limit_headers import limit_headers
from synccash.resilience.limits import Algorithm, Limit
from synccash.resilience.rate_limiter import Demand, MemoryLimiter

SECOND = 1_000_000
LIMITS = st.builds(
    Limit,
    name=st.just("p"),
    scope=st.just("user"),
    quota=st.integers(1, 20),
    burst=st.integers(0, 20),
    period_s=st.integers(1, 120),
    algorithm=st.sampled_from(get_args(Algorithm)),
)


@dataclass
class Server:
    limit: Limit
    now_us: int = 1_700_000_000_000_000
    limiter: MemoryLimiter = field(init=False)

    def __post_init__(self) -> None:
        self.limiter = MemoryLimiter(clock_us=lambda: self.now_us)

    def ask(self) -> tuple[bool, dict[str, int]]:
        """Send a request; return whether it is granted, and the parameters q, w, r and t."""
        decision = self.limiter.check([Demand(self.limit, "ama")])
        told = " ".join(value for name, value in limit_headers(decision) if name.startswith("RateLimit"))
        return decision.allowed, {name: int(value) for name, value in re.findall(r"([qwrt])=(\d+)", told)}

    def wait(self, seconds: float) -> None:
        self.now_us += round(seconds * SECOND)


@given(limit=LIMITS, start_us=st.integers(0, 240 * SECOND))
def test_a_client_that_sends_what_is_left_and_then_waits_is_never_refused(limit: Limit, start_us: int):
    server = Server(limit)
    server.now_us += start_us
    for _ in range(4):
        allowed, told = server.ask()
        assert allowed
        for _ in range(told["r"]):
            allowed, told = server.ask()
            assert allowed
        server.wait(told["t"])
        # The whole quota is there again.
        for _ in range(told["q"]):
            allowed, told = server.ask()
            assert allowed
        server.wait(told["t"])


# A sliding window estimates the past from two counters, so only `r` and `t` tell what it grants.
@given(
    limit=LIMITS.filter(lambda limit: limit.algorithm != "sliding_window"),
    start_us=st.integers(0, 240 * SECOND),
)
def test_a_client_that_spreads_the_quota_over_the_window_is_never_refused(limit: Limit, start_us: int):
    server = Server(limit)
    server.now_us += start_us
    allowed, told = server.ask()
    assert allowed
    # Rounded up to a microsecond, as a clock would.
    pause_us = -(-told["w"] * SECOND // told["q"])
    for _ in range(3 * told["q"]):
        server.now_us += pause_us
        allowed, _ = server.ask()
        assert allowed


@pytest.mark.parametrize("algorithm", get_args(Algorithm))
def test_a_used_up_quota_is_said_to_be_used_up(algorithm: Algorithm):
    server = Server(Limit(name="p", scope="user", quota=3, burst=2, period_s=60, algorithm=algorithm))
    left = [server.ask()[1]["r"] for _ in range(5)]
    assert left == [4, 3, 2, 1, 0]
    assert server.ask()[0] is False


def test_the_burst_of_a_token_bucket_is_left_but_not_promised_again():
    server = Server(Limit(name="p", scope="user", quota=10, burst=3, period_s=60))
    assert server.ask() == (True, {"q": 10, "w": 60, "r": 12, "t": 0})
    for _ in range(11):
        server.ask()
    assert server.ask() == (True, {"q": 10, "w": 60, "r": 0, "t": 60})
