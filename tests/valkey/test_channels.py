"""One connection for all channels of a process: on a real Valkey."""

import asyncio
import contextlib
import errno
import time

import pytest
import redis
from redis.exceptions import ResponseError
from structlog.testing import capture_logs

from breaker_peers import WAIT_S, until
from synccash.stores.supervised_loops import LoopSupervisor
from synccash.stores.valkey.channel import MAX_QUEUED, ChannelListener
from synccash.stores.valkey.client import build_client


@contextlib.asynccontextmanager
async def listening(url, **options):
    async with build_client(url, deadline_s=1.0) as client:
        listener = ChannelListener(client, **options)
        listener.start()
        try:
            yield listener
        finally:
            async with asyncio.timeout(WAIT_S):
                await listener.close()


@pytest.fixture
def publish(valkey_url):
    with redis.Redis.from_url(valkey_url) as client:
        yield client.publish


def subscribed(url):
    with redis.Redis.from_url(url) as client:
        return [one for one in client.client_list() if one["sub"] != "0"]


async def test_all_channels_share_one_connection_also_those_that_come_later(valkey_url, publish):
    heard = []
    async with listening(valkey_url) as listener:
        first = listener.subscribe("a", lambda text: heard.append(("a", text)), name="a")
        await until(lambda: first.connected)
        second = listener.subscribe("b", lambda text: heard.append(("b", text)), name="b")
        third = listener.subscribe("c", lambda text: heard.append(("c", text)), name="c")
        await until(lambda: second.connected and third.connected)
        assert [one["sub"] for one in subscribed(valkey_url)] == ["3"]
        for channel in "abc":
            publish(channel, channel.upper())
        await until(lambda: len(heard) == 3)
        assert sorted(heard) == [("a", b"A"), ("b", b"B"), ("c", b"C")]


async def test_without_a_channel_no_connection_is_opened(valkey_url):
    async with listening(valkey_url):
        for _ in range(20):
            await asyncio.sleep(0)
        assert subscribed(valkey_url) == []


async def test_a_channel_is_subscribed_once(valkey_url):
    async with listening(valkey_url) as listener:
        listener.subscribe("a", lambda _: None, name="a")
        with pytest.raises(ValueError, match="channel a"):
            listener.subscribe("a", lambda _: None, name="again")


async def test_a_channel_that_is_being_prepared_delays_no_other(valkey_url, publish):
    prepared, slow, quick = asyncio.Event(), [], []
    async with listening(valkey_url) as listener:
        busy = listener.subscribe("slow", slow.append, name="slow", prepare=prepared.wait)
        swift = listener.subscribe("quick", quick.append, name="quick")
        await until(lambda: swift.connected)
        for _ in range(50):
            publish("slow", "a batch")
        publish("quick", "a signal")
        await until(lambda: quick)
        assert (slow, busy.connected) == ([], False)
        prepared.set()
        await until(lambda: len(slow) == 50)


async def test_a_signal_waits_for_one_batch_and_not_for_all_that_came_before_it(valkey_url, publish):
    """The messages are in the process's buffer before it reads the first of them."""
    order = []

    def batch(_):
        time.sleep(0.005)
        order.append("batch")

    async with listening(valkey_url) as listener:
        parts = [
            listener.subscribe("risk", batch, name="risk"),
            listener.subscribe("signal", lambda _: order.append("signal"), name="signal"),
        ]
        await until(lambda: all(part.connected for part in parts))
        for _ in range(30):
            publish("risk", "a batch")
        publish("signal", "work")
        await until(lambda: len(order) == 31)
    assert order.index("signal") <= 10


async def test_a_channel_that_nobody_keeps_up_with_is_emptied_and_prepared_again(valkey_url, publish):
    preparations, gate, heard, quick = [], asyncio.Event(), [], []

    async def prepare():
        preparations.append(len(preparations))
        await gate.wait()

    async with listening(valkey_url) as listener:
        listener.subscribe("slow", heard.append, name="slow", prepare=prepare)
        swift = listener.subscribe("quick", quick.append, name="quick")
        await until(lambda: preparations and swift.connected)
        with capture_logs() as logs, redis.Redis.from_url(valkey_url) as client:
            pipe = client.pipeline(transaction=False)
            for number in range(MAX_QUEUED + 3):
                pipe.publish("slow", number)
            pipe.execute()
            publish("quick", "all of them were read")
            await until(lambda: quick)
            gate.set()
            await until(lambda: heard[-1:] == [str(MAX_QUEUED + 2).encode()])
        assert heard == [str(number).encode() for number in range(MAX_QUEUED, MAX_QUEUED + 3)]
        assert preparations == [0, 1], "what was missed is read otherwise"
        (line,) = [line for line in logs if line["event"] == "channel_overflowed"]
        assert (line["channel"], line["dropped"]) == ("slow", MAX_QUEUED)


async def test_after_a_loss_each_channel_is_prepared_again_and_told_once_per_outage(stoppable_valkey):
    told, pauses = [], []

    async def prepare():
        told.append("prepared")

    async def pause(seconds):
        pauses.append(seconds)
        await asyncio.sleep(0.01)

    async with listening(stoppable_valkey.url, sleep=pause) as listener:
        part = listener.subscribe(
            "a",
            told.append,
            name="a",
            prepare=prepare,
            connected=lambda: told.append("connected"),
            lost=lambda error: told.append("lost"),
        )
        await until(lambda: part.connected)
        stoppable_valkey.kill()
        await until(lambda: len(pauses) > 5)
        stoppable_valkey.start()
        await until(lambda: part.connected)
        with redis.Redis.from_url(stoppable_valkey.url) as client:
            client.publish("a", "again")
        await until(lambda: b"again" in told)
    assert told == ["prepared", "connected", "lost", "prepared", "connected", b"again"]


async def test_a_preparation_that_fails_is_tried_again_and_no_message_is_handled_before(valkey_url, publish):
    told, failures = [], [ResponseError("refused"), TimeoutError()]

    async def prepare():
        if failures:
            raise failures.pop(0)
        told.append("prepared")

    supervisor = LoopSupervisor()
    async with listening(valkey_url, sleep=lambda _: asyncio.sleep(0), supervisor=supervisor) as listener:
        part = listener.subscribe(
            "a", told.append, name="a", prepare=prepare, lost=lambda error: told.append(type(error))
        )
        await until(lambda: part.connected)
        publish("a", "x")
        await until(lambda: b"x" in told)
        assert supervisor.restarts["a"] == 0
    assert told == [ResponseError, "prepared", b"x"]


async def test_an_error_of_a_receiver_restarts_its_own_loop_and_prepares_it_again(valkey_url, publish):
    preparations, heard, other = [], [], []

    async def prepare():
        preparations.append(1)

    def receive(text):
        if text == b"bad":
            raise LookupError("a mistake of ours")
        heard.append(text)

    supervisor = LoopSupervisor()
    async with listening(valkey_url, supervisor=supervisor) as listener:
        part = listener.subscribe("a", receive, name="a", prepare=prepare)
        swift = listener.subscribe("b", other.append, name="b")
        await until(lambda: part.connected and swift.connected)
        for text in ("bad", "good"):
            publish("a", text)
        publish("b", "x")
        await until(lambda: heard and other)
        assert (heard, other) == ([b"good"], [b"x"])
        assert supervisor.restarts == {"channel_listener": 0, "a": 1, "b": 0}
        assert len(preparations) == 2


async def test_a_time_out_of_the_transport_is_a_lost_connection(valkey_url, publish):
    """The kernel reports it when packets are no longer acknowledged; the error stays in the reader."""
    connections, heard = [], []
    async with listening(valkey_url) as listener:
        # No proxy can bring this error about: only a kernel whose packets are lost reports it.
        pool = listener._client.connection_pool
        make = pool.make_connection
        pool.make_connection = lambda: connections.append(make()) or connections[-1]
        part = listener.subscribe("a", heard.append, name="a")
        await until(lambda: part.connected)
        connections[0]._reader.set_exception(TimeoutError(errno.ETIMEDOUT, "Connection timed out"))
        await until(lambda: len(connections) == 2 and part.connected)
        publish("a", "again")
        await until(lambda: heard)


async def test_a_channel_can_be_subscribed_to_again(valkey_url, publish):
    heard = []
    async with listening(valkey_url) as listener:
        first = listener.subscribe("a", lambda _: None, name="a")
        await until(lambda: first.connected)
        await first.close()
        assert not first.connected
        second = listener.subscribe("a", heard.append, name="a")
        await until(lambda: second.connected)
        publish("a", "x")
        await until(lambda: heard)


async def test_a_listener_can_be_closed_at_any_moment_of_its_connecting(valkey_url):
    for steps in range(40):
        async with listening(valkey_url) as listener:
            listener.subscribe("a", lambda _: None, name="a")
            for _ in range(steps):
                await asyncio.sleep(0)
    await until(lambda: subscribed(valkey_url) == [])


async def test_it_is_closed_while_valkey_is_frozen(stoppable_valkey):
    async with listening(stoppable_valkey.url) as listener:
        part = listener.subscribe("a", lambda _: None, name="a")
        await until(lambda: part.connected)
        stoppable_valkey.freeze()
