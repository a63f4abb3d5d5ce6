"""Bodies are read whole, and a slow sender loses only its own requests."""

import asyncio

from synccash.middleware.whole_body import WholeBody


class Sender:
    """One request whose parts a test sends."""

    def __init__(self, layer, *headers):
        self.parts = asyncio.Queue()
        self.told = []
        scope = {"type": "http", "headers": list(headers)}
        self.task = asyncio.create_task(layer(scope, self.parts.get, None), name="request")
        scope["sender"] = self

    async def sends(self, body, *, more=True):
        await self.parts.put({"type": "http.request", "body": body, "more_body": more})
        for _ in range(5):
            await asyncio.sleep(0)


def layer(**options):
    async def app(scope, receive, send):
        scope["sender"].told.append((await receive())["body"])

    async def refuse(scope, send, refusal):
        scope["sender"].told.append(refusal.status)

    return WholeBody(app=app, refuse=refuse, **options)


async def test_a_body_in_parts_arrives_in_one():
    sender = Sender(layer())
    await sender.sends(b"ab")
    assert sender.told == []
    await sender.sends(b"c", more=False)
    assert sender.told == [b"abc"]


async def test_a_body_too_large_is_refused_as_soon_as_that_is_known():
    announced = Sender(layer(max_bytes=10), (b"content-length", b"11"))
    unannounced = Sender(layer(max_bytes=10))
    await unannounced.sends(b"x" * 11)
    await announced.task
    assert announced.told == unannounced.told == [413]


async def test_a_body_that_does_not_arrive_in_time_is_refused():
    sender = Sender(layer(timeout_s=0.01))
    await sender.sends(b"{")
    await sender.task
    assert sender.told == [408]


async def test_when_arriving_bodies_hold_too_much_the_oldest_is_refused():
    shared = layer(max_total_bytes=100)
    slow, quick = Sender(shared), Sender(shared)
    await slow.sends(b"x" * 60)
    await quick.sends(b"y" * 60)
    assert slow.told == [408]
    await quick.sends(b"y", more=False)
    assert quick.told == [b"y" * 61]
    later = Sender(shared)
    await later.sends(b"z" * 90)
    assert not later.task.done(), "a refused body holds nothing any more"
    await later.sends(b"", more=False)
    assert later.told == [b"z" * 90]


async def test_a_body_whose_time_ends_at_the_same_moment_fails_no_other_request():
    shared = layer(max_total_bytes=100)
    slow, quick = Sender(shared), Sender(shared)
    await slow.sends(b"x" * 60)
    (limit,) = [one for one in shared._arriving if one.when() == min(two.when() for two in shared._arriving)]
    limit.reschedule(asyncio.get_running_loop().time())
    await quick.sends(b"y" * 60)
    await quick.sends(b"y", more=False)
    await quick.task
    assert (slow.told, quick.told) == ([408], [b"y" * 61])


async def test_a_client_that_hangs_up_leaves_nothing_behind():
    shared = layer(max_total_bytes=100)
    gone = Sender(shared)
    await gone.sends(b"x" * 90)
    await gone.parts.put({"type": "http.disconnect"})
    await gone.task
    assert gone.told == []
    slow, quick = Sender(shared), Sender(shared)
    await slow.sends(b"y" * 90)
    assert not slow.task.done(), "the body that was given up holds no bytes"
    await quick.sends(b"z" * 20)
    assert slow.told == [408], "the oldest body that still arrives is refused, not the one that was given up"
