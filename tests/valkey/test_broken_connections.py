"""What stands between a process and Valkey takes connections and drops them: no loop ends of it.

On uvloop, as the service runs: its transports raise a RuntimeError once the other side has gone.
"""

import asyncio
import time
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
import uvloop

from breaker_peers import NAME, breaker_peers, until
from synccash.resilience.rate_limiter import Demand, Limit
from synccash.stores.valkey.client import UNREACHABLE, ValkeyState, build_client, valkey_state
from synccash.stores.valkey.connection import ValkeyConnection
from synccash.stores.valkey.limits.rate_limiter import ValkeyLimiter
from synccash.stores.valkey.presence import API_PROCESSES
from synccash.stores.valkey.rail_health import SharedRailHealth
from synccash.stores.valkey.risk_sharing import SharedRiskInputs
from synccash.stores.valkey.session import open_session
from synccash.stores.valkey.work_signal import ValkeyWorkSignal
from tcp_proxy import TcpProxy, tcp_proxy

MANNERS = ("close", "reset")
ENOUGH = 40


@pytest.fixture
def proxy(valkey_url):
    with tcp_proxy(Path(urlsplit(valkey_url).path)) as proxy:
        yield proxy


def through(proxy: TcpProxy, valkey_url: str) -> str:
    """The same Valkey with its password and database, over TCP."""
    parts = urlsplit(valkey_url)
    user = parts.netloc.partition("@")[0]
    database = dict(parse_qsl(parts.query)).get("db", "0")
    return f"redis://{user}@127.0.0.1:{proxy.port}/{database}"


async def busy():
    """A process that computes: between two steps of a task its connection may have gone."""
    while True:
        time.sleep(0.002)  # noqa: ASYNC251 - nothing is waited for: it stands for work
        await asyncio.sleep(0)


def on_uvloop(scenario):
    async def run():
        others = [asyncio.create_task(busy()) for _ in range(2)]
        try:
            await scenario()
        finally:
            for other in others:
                other.cancel()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


@pytest.mark.parametrize("manner", MANNERS)
def test_a_breaker_forced_open_at_one_process_is_known_at_the_other_afterwards(proxy, valkey_url, manner):
    async def scenario():
        async with breaker_peers(through(proxy, valkey_url), sleep=lambda _: asyncio.sleep(0)) as (
            one,
            other,
        ):
            proxy.be(manner)
            await until(lambda: not one.shared.connected and not other.shared.connected)
            one.breaker.force_open("by hand")
            await until(lambda: proxy.hung_up_on > ENOUGH)
            assert other.state == "closed"
            proxy.be("carry")
            await until(lambda: other.state == "forced_open")
            seen = await one.view.one(NAME)
            assert seen is not None

    on_uvloop(scenario)


@pytest.mark.parametrize("manner", MANNERS)
def test_the_limiter_decides_every_request_and_uses_valkey_again_afterwards(proxy, valkey_url, manner):
    async def scenario():
        limiter = ValkeyLimiter(through(proxy, valkey_url), deadline_s=1.0)
        demands = [Demand(Limit(name="wide", scope="ip", quota=1_000_000, period_s=60), "a")]

        async def check():
            async with asyncio.timeout(30):
                return await limiter.check("e", demands)

        assert not (await check()).degraded
        for _ in range(ENOUGH):
            proxy.be(manner)
            assert all(one.allowed for one in await asyncio.gather(*(check() for _ in range(3))))
        proxy.be("carry")
        async with asyncio.timeout(30):
            while (await check()).degraded:  # noqa: ASYNC110 - the limiter's breaker sets no event
                await asyncio.sleep(0.01)
        await limiter.aclose()

    on_uvloop(scenario)


@pytest.mark.parametrize("manner", MANNERS)
def test_every_other_loop_goes_on_afterwards(proxy, valkey_url, manner):
    async def scenario():
        alone = []
        url = through(proxy, valkey_url)
        proxy.be(manner)
        async with (
            open_session(url, "me", deadline_s=1.0, sleep=lambda _: asyncio.sleep(0)) as session,
            build_client(valkey_url, deadline_s=5.0) as other,
        ):
            bell = ValkeyWorkSignal(session)
            fleet = session.presence.membership(API_PROCESSES, assumed=7)
            sightings = SharedRiskInputs(session, lambda *_: None, lambda _: None)
            health = SharedRailHealth(session, dict, dict, lambda _, live: alone.append(live), lambda: 0.0)
            bell.start()
            fleet.join()
            sightings.start()
            for _ in range(ENOUGH):
                bell.notify()
                assert await valkey_state(session.client) is not ValkeyState.OK
                assert await health.exchange() == 1
                with pytest.raises(UNREACHABLE):
                    await session.presence.beat()
                await asyncio.sleep(0)
            await until(lambda: proxy.hung_up_on > 3 * ENOUGH)
            assert fleet.size() == 7
            assert set(session.supervisor.restarts.values()) == {0}
            assert session.supervisor.restarts.keys() >= {
                "channel_listener",
                "doorbell_listener",
                "presence",
                "risk_listener",
                "risk_teller",
            }
            proxy.be("carry")
            async with other.pubsub() as channel:
                await channel.subscribe("synccash:doorbell")
                await until_heard(channel, bell)
            await until(lambda: fleet.members() == ["me"])
            assert await health.exchange() == 1
            assert await valkey_state(session.client) is ValkeyState.OK
            await asyncio.gather(bell.close(), sightings.close(), health.close())

    on_uvloop(scenario)


async def until_heard(channel, bell):
    async with asyncio.timeout(30):
        while True:
            bell.notify()
            message = await channel.get_message(ignore_subscribe_messages=True, timeout=0.1)
            if message is not None:
                return


def test_an_error_that_nobody_foresaw_costs_a_breaker_a_restart_and_no_news(valkey_url):
    async def scenario():
        async with breaker_peers(valkey_url) as (one, other):
            client = one.session.client
            real = client.eval

            async def once_broken(*given):
                client.eval = real
                raise LookupError("a mistake of ours, or of redis-py's")

            client.eval = once_broken
            one.breaker.force_open("by hand")
            await until(lambda: other.state == "forced_open")
            assert one.session.supervisor.restarts["breakers_teller"] == 1

    on_uvloop(scenario)


def test_a_command_on_a_transport_that_has_just_closed_raises_a_connection_error(valkey_url):
    async def scenario():
        connection = ValkeyConnection(valkey_url, deadline_s=5.0)
        assert await connection.call("PING") == b"PONG"
        # A proxy cannot close it exactly between two statements of this task.
        assert connection._socket is not None
        assert connection._socket._transport is not None
        connection._socket._transport.abort()
        reply = connection.start("PING")
        assert reply is not None
        async with asyncio.timeout(30):
            with pytest.raises(UNREACHABLE):
                await reply
        assert await connection.call("PING") == b"PONG"
        await connection.aclose()

    on_uvloop(scenario)


async def test_closing_while_the_server_is_silent_closes_the_socket_and_stays_closed():
    """A server that takes the connection and answers no password."""
    asked, ended = asyncio.Event(), asyncio.Event()

    async def serve(reader, writer):
        await reader.read(1)
        asked.set()
        while await reader.read(100):
            pass
        ended.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connection = ValkeyConnection(f"redis://:secret@127.0.0.1:{port}", deadline_s=60.0)
    calling = asyncio.create_task(connection.call("PING"))
    async with server, asyncio.timeout(30):
        await asked.wait()
        await connection.aclose()
        await ended.wait()
        for call in (calling, connection.call("PING")):
            with pytest.raises(UNREACHABLE, match="closed"):
                await call
