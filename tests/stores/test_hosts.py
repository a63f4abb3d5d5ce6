"""A database URL with several hosts: how it is read, and which host a connection leads to."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from stores.test_postgres_read_only import takes_writes
from synccash.payments.errors import StoreUnavailableError
from synccash.stores.postgres.hosts import HostChoice, host_urls
from synccash.stores.postgres.pool import connect


@pytest.mark.parametrize(
    "url", ["postgresql://u:p@a:5433/d", "postgresql://u:p@/d?host=/run/a", "postgres://"]
)
def test_a_url_with_one_host_stays_as_it_is(url: str):
    assert host_urls(url) == (url,)


@pytest.mark.parametrize(
    ("url", "urls"),
    [
        (
            "postgresql://u:p%2C@a:1,[::1]:2/d",
            (
                "postgresql://u:p%2C@a:1/d?target_session_attrs=read-write",
                "postgresql://u:p%2C@[::1]:2/d?target_session_attrs=read-write",
            ),
        ),
        (
            "postgresql://u:p@/d?host=/run/a,/run/b&target_session_attrs=any",
            (
                "postgresql://u:p@/d?host=/run/a&target_session_attrs=any",
                "postgresql://u:p@/d?host=/run/b&target_session_attrs=any",
            ),
        ),
        (
            "postgresql:///d?host=a,b&port=1,2",
            (
                "postgresql:///d?host=a&port=1&target_session_attrs=read-write",
                "postgresql:///d?host=b&port=2&target_session_attrs=read-write",
            ),
        ),
        (
            "postgresql://a,b/d?port=7",
            (
                "postgresql://a/d?port=7&target_session_attrs=read-write",
                "postgresql://b/d?port=7&target_session_attrs=read-write",
            ),
        ),
    ],
)
def test_each_host_gets_a_url_of_its_own(url: str, urls: tuple[str, ...]):
    assert host_urls(url) == urls


def test_ports_without_hosts_are_refused():
    with pytest.raises(ValueError, match="3 hosts and 2 ports"):
        host_urls("postgresql://a,b,c/d?port=1,2")


@dataclass
class Connection:
    url: str
    ended: bool = False

    def terminate(self) -> None:
        self.ended = True


@dataclass
class Network:
    """Hosts that answer, refuse or stay silent."""

    hosts: dict[str, BaseException | asyncio.Event | None]
    made: list[Connection] = field(default_factory=list[Connection])
    switches: int = 0

    def choice(self, **more: Any) -> HostChoice:
        return HostChoice(list(self.hosts), self._switched, self._connect, **more)

    async def _switched(self) -> None:
        self.switches += 1

    async def _connect(self, url: str, **options: Mapping[str, Any]) -> Connection:
        match self.hosts[url]:
            case BaseException() as error:
                raise error
            case asyncio.Event() as answered:
                await answered.wait()
            case None:
                pass
        self.made.append(Connection(url))
        return self.made[-1]


async def test_a_host_that_refuses_is_followed_by_the_next_at_once():
    network = Network({"a": ConnectionRefusedError(), "b": None})
    assert (await network.choice(head_start_s=3600).connect("")).url == "b"


async def test_a_silent_host_does_not_use_up_the_time_of_the_next():
    network = Network({"a": asyncio.Event(), "b": None})
    assert (await network.choice(head_start_s=0).connect("")).url == "b"
    assert [made.url for made in network.made] == ["b"]


async def test_the_last_good_host_comes_first_and_a_switch_is_told():
    network = Network({"a": ConnectionRefusedError(), "b": None})
    choice = network.choice()
    await choice.connect("")
    network.hosts["a"] = None
    assert (await choice.connect("")).url == "b"
    assert network.switches == 0
    network.hosts["b"] = ConnectionRefusedError()
    assert (await choice.connect("")).url == "a"
    assert network.switches == 1


async def test_without_any_host_the_first_error_is_raised():
    network = Network({"a": ConnectionRefusedError("a"), "b": ConnectionResetError("b")})
    with pytest.raises(ConnectionRefusedError, match="a"):
        await network.choice().connect("")


def two_hosts(url: str, change: Callable[[str], str]) -> str:
    """The same server under two names, the first of which is nobody's."""
    [folder] = parse_qs(urlsplit(url).query)["host"]
    return url.replace(f"host={folder}", f"host={change(folder)},{folder}")


async def test_a_pool_skips_a_host_that_is_away(database_url: str):
    pool = await connect(two_hosts(database_url, lambda folder: f"{folder}-away"), min_size=1, max_size=2)
    try:
        assert await pool.fetchval("SELECT 1") == 1
    finally:
        await pool.close()


async def test_a_pool_of_several_hosts_takes_none_without_writes(database_url: str):
    await takes_writes(database_url, taken=False)
    with pytest.raises(StoreUnavailableError):
        await connect(two_hosts(database_url, lambda folder: folder), min_size=1, max_size=1)
    await takes_writes(database_url, taken=True)
    pool = await connect(two_hosts(database_url, lambda folder: folder), min_size=1, max_size=1)
    await pool.close()
    assert isinstance(pool, asyncpg.Pool)
