"""One snapshot for all viewers: streams share it, end at sign-out and before the process stops."""

import asyncio

import pytest

from synccash.console.snapshots import END, SnapshotHub, Viewer


def viewer(name: str) -> Viewer:
    return Viewer({"type": "http"}, name, name.encode())


async def always(_viewer: Viewer) -> bool:
    return True


def hub_that_counts(**options):
    loads = []

    async def load(_viewer):
        loads.append(1)
        return f"<p>{len(loads)}</p>\n<b>x</b>"

    hub = SnapshotHub(**options)
    hub.use(load)
    return hub, loads


async def test_twenty_viewers_get_the_same_snapshot_that_is_loaded_once():
    hub, loads = hub_that_counts(pause_s=3_600)
    streams = [hub.stream(viewer(str(n)), always) for n in range(20)]
    first = [await anext(stream) for stream in streams]
    assert set(first) == {b"retry: 2000\n\n"}
    frames = [await anext(stream) for stream in streams]
    assert set(frames) == {b"data: <p>1</p>\ndata: <b>x</b>\n\n"}
    assert len(loads) == 1
    for stream in streams:
        await stream.aclose()
    assert hub.viewers == 0


async def test_nothing_is_loaded_while_nobody_views():
    hub, loads = hub_that_counts(pause_s=0.0)
    stream = hub.stream(viewer("a"), always)
    await anext(stream)
    await anext(stream)
    await stream.aclose()
    seen = len(loads)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(loads) == seen


async def test_a_viewer_who_comes_later_gets_no_snapshot_of_former_viewers():
    hub, _ = hub_that_counts(pause_s=3_600)
    for expected in (b"data: <p>1</p>\ndata: <b>x</b>\n\n", b"data: <p>2</p>\ndata: <b>x</b>\n\n"):
        stream = hub.stream(viewer("a"), always)
        await anext(stream)
        assert await anext(stream) == expected
        await stream.aclose()


async def test_a_sign_out_ends_the_streams_of_that_session_only():
    hub, _ = hub_that_counts(pause_s=3_600)
    mine, other = hub.stream(viewer("mine"), always), hub.stream(viewer("other"), always)
    for stream in (mine, other):
        await anext(stream)
        await anext(stream)
    hub.end(b"mine")
    assert await anext(mine) == END
    with pytest.raises(StopAsyncIteration):
        await anext(mine)
    assert hub.viewers == 1
    await other.aclose()


async def test_a_session_that_ended_elsewhere_ends_the_stream_at_the_next_heartbeat():
    hub, _ = hub_that_counts(pause_s=3_600, heartbeat_s=0.0)
    answers = [True, False]

    async def is_signed_in(_viewer):
        return answers.pop(0)

    stream = hub.stream(viewer("a"), is_signed_in)
    await anext(stream)
    frames = [frame async for frame in stream]
    assert frames[-1] == END
    assert b": heartbeat\n\n" in frames


async def test_a_session_that_ended_elsewhere_ends_the_stream_while_snapshots_keep_coming():
    now, valid = [0.0], [True]
    hub, _ = hub_that_counts(pause_s=0.0, heartbeat_s=2.0, clock=lambda: now[0])

    async def is_signed_in(_viewer):
        return valid[0]

    stream = hub.stream(viewer("a"), is_signed_in)
    for _ in range(4):
        assert await anext(stream) != END
    valid[0] = False
    assert await anext(stream) != END, "it was checked a moment ago"
    now[0] = 2.0
    assert await anext(stream) == END
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_closing_ends_all_streams_so_that_the_server_can_stop():
    hub, _ = hub_that_counts(pause_s=3_600)
    streams = [hub.stream(viewer(str(n)), always) for n in range(3)]
    for stream in streams:
        await anext(stream)
        await anext(stream)
    waiting = [asyncio.ensure_future(anext(stream, None)) for stream in streams]
    await asyncio.sleep(0)
    hub.close()
    assert await asyncio.gather(*waiting) == [None, None, None]


async def test_a_snapshot_that_fails_is_tried_again():
    outcomes = [RuntimeError("lost"), "<p>now</p>"]

    async def load(_viewer):
        found = outcomes.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    hub = SnapshotHub(pause_s=0.0)
    hub.use(load)
    stream = hub.stream(viewer("a"), always)
    await anext(stream)
    assert await anext(stream) == b"data: <p>now</p>\n\n"
    await stream.aclose()
