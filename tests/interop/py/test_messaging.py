"""Publish, subscribe, request: what every application does, on every transport."""

import asyncio

import nats.errors
import pytest
from harness import SECONDS, received, until


async def test_a_message_reaches_each_subscriber_once(serve, connect, transport):
    server = await serve(transport)
    first, second = await connect(server), await connect(server)
    subscriptions = [await c.nc.subscribe("greet") for c in (first, second)]
    for client in (first, second):
        await client.flush()

    for text in ("one", "", "three"):
        await first.nc.publish("greet", text.encode())

    for subscription in subscriptions:
        assert await received(subscription, 3) == ["one", "", "three"]


async def test_a_large_message_arrives_whole(serve, connect, transport):
    client = await connect(await serve(transport))
    subscription = await client.nc.subscribe("large")
    body = bytes(range(256)) * 4096  # 1 MiB, the default max_payload
    await client.nc.publish("large", body)
    assert (await subscription.next_msg(SECONDS)).data == body


async def test_no_echo_keeps_own_messages_away(serve, connect, transport):
    server = await serve(transport)
    quiet, other = await connect(server, no_echo=True), await connect(server)
    subscription = await quiet.nc.subscribe("room")
    await quiet.nc.publish("room", b"own")
    await quiet.flush()
    await other.nc.publish("room", b"other")
    assert await received(subscription, 1) == ["other"]


@pytest.mark.parametrize(
    ("pattern", "matching"),
    [
        ("a.b", ["a.b"]),
        ("a.*", ["a.b", "a.c"]),
        ("*.b", ["a.b", "x.b"]),
        ("*.*", ["a.b", "a.c", "x.b"]),
        ("a.>", ["a.b", "a.c", "a.b.c"]),
        ("a.*.c", ["a.b.c"]),
        (">", ["a", "a.b", "a.c", "x.b", "a.b.c", "end"]),
    ],
)
async def test_wildcards(serve, connect, pattern, matching):
    client = await connect(await serve("tcp"))
    subscription = await client.nc.subscribe(pattern)
    done = await client.nc.subscribe("end")
    for subject in ("a", "a.b", "a.c", "x.b", "a.b.c", "end"):
        await client.nc.publish(subject)
    await done.next_msg(SECONDS)

    seen = [(await subscription.next_msg(SECONDS)).subject for _ in matching]
    assert seen == matching
    assert subscription.pending_msgs == 0


async def test_a_queue_group_shares_what_others_all_get(serve, connect, transport):
    server = await serve(transport)
    publisher, worker = await connect(server), await connect(server)
    shares = [0, 0, 0]

    def member(index):
        async def count(_message):
            shares[index] += 1

        return count

    for index in range(3):
        await worker.nc.subscribe("jobs.*", queue="workers", cb=member(index))
    observer = await worker.nc.subscribe("jobs.>")
    await worker.flush()

    for number in range(300):
        await publisher.nc.publish(f"jobs.{number}")
    await received(observer, 300)
    await until(lambda: sum(shares) >= 300, lambda: shares)
    await worker.flush()

    assert sum(shares) == 300
    assert all(shares), f"a member got nothing: {shares}"


async def test_unsubscribe_after_a_number_of_messages(serve, connect, transport):
    client = await connect(await serve(transport))
    limited = await client.nc.subscribe("ticks")
    await limited.unsubscribe(limit=2)
    everything = await client.nc.subscribe("ticks")
    for number in range(4):
        await client.nc.publish("ticks", str(number).encode())

    assert await received(everything, 4) == ["0", "1", "2", "3"]
    assert limited.delivered == 2


async def test_requests_get_their_own_reply(serve, connect, transport):
    server = await serve(transport)
    service, caller = await connect(server), await connect(server)

    async def double(message):
        await message.respond(str(2 * int(message.data)).encode())

    await service.nc.subscribe("double", cb=double)
    await service.flush()

    replies = await asyncio.gather(
        *(caller.nc.request("double", str(n).encode(), timeout=SECONDS) for n in range(50))
    )
    assert [int(reply.data) for reply in replies] == [2 * n for n in range(50)]


async def test_old_style_request(serve, connect, transport):
    client = await connect(await serve(transport))

    async def answer(message):
        await message.respond(b"yes")

    await client.nc.subscribe("ask", cb=answer)
    reply = await client.nc.request("ask", timeout=SECONDS, old_style=True)
    assert reply.data == b"yes"


async def test_a_request_nobody_serves_fails_at_once(serve, connect, transport):
    client = await connect(await serve(transport))
    with pytest.raises(nats.errors.NoRespondersError):
        await client.nc.request("nobody", timeout=SECONDS)


async def test_headers_arrive_as_sent(serve, connect, transport):
    client = await connect(await serve(transport))
    subscription = await client.nc.subscribe("headed")
    headers = {"Trace-Id": "7", "lower-case": "kept", "Empty": "", "Spaced": "a b:c"}
    await client.nc.publish("headed", b"body", headers=headers)
    await client.nc.publish("headed", b"", headers={"Only": "headers"})

    message = await subscription.next_msg(SECONDS)
    assert (message.headers, message.data) == (headers, b"body")
    message = await subscription.next_msg(SECONDS)
    assert (message.headers, message.data) == ({"Only": "headers"}, b"")


@pytest.mark.parametrize("options", [{"verbose": True}, {"pedantic": True}])
async def test_verbose_and_pedantic_clients(serve, connect, transport, options):
    client = await connect(await serve(transport), **options)
    subscription = await client.nc.subscribe("modes")
    await client.nc.publish("modes", b"fine")
    assert await received(subscription, 1) == ["fine"]
    assert client.errors == []
