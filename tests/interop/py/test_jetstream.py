"""JetStream as nats-py uses it: streams, consumers of all kinds, key-value, object store."""

import asyncio
import datetime
import json
import uuid

import nats.errors
import nats.js.errors
import nats.micro
import pytest
from harness import SECONDS
from nats.js import api


@pytest.fixture
def js(serve, connect):
    async def join():
        client = await connect(await serve("tcp", "jetstream"))
        return client.nc.jetstream(timeout=SECONDS)

    return join


def name():
    return uuid.uuid4().hex


async def test_a_stream_keeps_what_was_published(js):
    js = await js()
    info = await js.add_stream(name="KEEP", subjects=["keep.>"])
    assert (info.config.name, info.state.messages) == ("KEEP", 0)
    acks = [await js.publish(f"keep.{n}", str(n).encode()) for n in range(5)]
    assert [ack.seq for ack in acks] == [1, 2, 3, 4, 5]
    assert (await js.get_msg("KEEP", seq=3)).data == b"2"
    assert (await js.get_last_msg("KEEP", "keep.4")).seq == 5
    assert (await js.stream_info("KEEP")).state.messages == 5
    await js.delete_msg("KEEP", 2)
    assert (await js.stream_info("KEEP")).state.num_deleted == 1
    await js.purge_stream("KEEP", subject="keep.0")
    assert (await js.stream_info("KEEP")).state.messages == 3
    assert await js.delete_stream("KEEP")
    with pytest.raises(nats.js.errors.NotFoundError):
        await js.stream_info("KEEP")


async def test_a_message_id_is_stored_once(js):
    js = await js()
    await js.add_stream(name="ONCE", subjects=["once"])
    headers = {"Nats-Msg-Id": "a"}
    first = await js.publish("once", b"x", headers=headers)
    second = await js.publish("once", b"x", headers=headers)
    assert (first.duplicate, second.duplicate, second.seq) == (None, True, first.seq)


async def test_pull_consumer_delivers_again_what_was_refused(js):
    js = await js()
    await js.add_stream(name="PULL", subjects=["pull"])
    subscription = await js.pull_subscribe("pull", "worker")
    for n in range(3):
        await js.publish("pull", str(n).encode())
    one, two, three = await subscription.fetch(3, timeout=SECONDS)
    await one.ack_sync()
    await two.nak()
    await three.term()
    (again,) = await subscription.fetch(1, timeout=SECONDS)
    assert (again.data, again.metadata.num_delivered) == (b"1", 2)
    await again.ack_sync()
    with pytest.raises(nats.errors.TimeoutError):
        await subscription.fetch(1, timeout=0.5)
    info = await subscription.consumer_info()
    assert (info.num_ack_pending, info.num_pending, info.ack_floor.stream_seq) == (0, 0, 3)


async def test_push_and_ordered_consumers_see_everything_in_order(js):
    js = await js()
    await js.add_stream(name="PUSH", subjects=["push.>"])
    expected = [str(n).encode() for n in range(200)]
    for text in expected:
        await js.publish("push.a", text)
    durable = await js.subscribe("push.a", durable="listener")
    ordered = await js.subscribe("push.>", ordered_consumer=True)
    for subscription in (durable, ordered):
        seen = [(await subscription.next_msg(SECONDS)).data for _ in expected]
        assert seen == expected


async def test_a_queue_of_push_subscribers_shares_the_work(js):
    js = await js()
    await js.add_stream(name="QUEUE", subjects=["queue"])
    seen = []

    async def take(message):
        seen.append(message.data)
        await message.ack()

    for _ in range(2):
        await js.subscribe("queue", "workers", cb=take)
    for n in range(50):
        await js.publish("queue", str(n).encode())
    async with asyncio.timeout(SECONDS):
        while len(seen) < 50:
            await asyncio.sleep(0.01)
    assert sorted(seen, key=int) == [str(n).encode() for n in range(50)]


async def test_a_work_queue_is_empty_when_the_work_is_done(js):
    js = await js()
    retention = api.RetentionPolicy.WORK_QUEUE
    await js.add_stream(name="WORK", subjects=["work"], retention=retention)
    for n in range(10):
        await js.publish("work", str(n).encode())
    subscription = await js.pull_subscribe("work", "worker")
    for message in await subscription.fetch(10, timeout=SECONDS):
        await message.ack_sync()
    assert (await js.stream_info("WORK")).state.messages == 0


async def test_limits_and_refusals(js):
    js = await js()
    await js.add_stream(name="SMALL", subjects=["small"], max_msgs=2, discard=api.DiscardPolicy.NEW)
    await js.publish("small", b"1")
    await js.publish("small", b"2")
    with pytest.raises(nats.js.errors.APIError) as refused:
        await js.publish("small", b"3")
    assert refused.value.err_code == 10077
    with pytest.raises(nats.js.errors.BadRequestError):
        await js.add_stream(name="OTHER", subjects=["small"])


async def test_key_value(js):
    js = await js()
    kv = await js.create_key_value(bucket="config", history=5)
    watcher = await kv.watchall()
    revision = await kv.put("a.b", b"one")
    assert (await kv.get("a.b")).value == b"one"
    await kv.update("a.b", b"two", last=revision)
    with pytest.raises(nats.js.errors.KeyWrongLastSequenceError):
        await kv.update("a.b", b"three", last=revision)
    with pytest.raises(nats.js.errors.KeyWrongLastSequenceError):
        await kv.create("a.b", b"new")
    await kv.put("c", b"x")
    assert sorted(await kv.keys()) == ["a.b", "c"]
    assert [entry.value for entry in await kv.history("a.b")] == [b"one", b"two"]
    await kv.delete("c")
    with pytest.raises(nats.js.errors.KeyNotFoundError):
        await kv.get("c")
    changes = []
    while len(changes) < 4:
        entry = await watcher.updates(timeout=SECONDS)
        if entry is not None:
            changes.append((entry.key, entry.value or None))
    assert changes == [("a.b", b"one"), ("a.b", b"two"), ("c", b"x"), ("c", None)]
    assert (await kv.status()).values == 4


async def test_object_store(js):
    js = await js()
    store = await js.create_object_store("files")
    content = bytes(range(256)) * 2000
    info = await store.put("report", content)
    assert (info.size, info.chunks) == (len(content), 4)
    assert (await store.get("report")).data == content
    await store.put("other", b"")
    assert sorted(entry.name for entry in await store.list()) == ["other", "report"]
    await store.delete("report")
    with pytest.raises(nats.js.errors.NotFoundError):
        await store.get("report")


async def test_everything_is_there_after_a_restart(serve, connect):
    server = await serve("tcp", "jetstream")
    client = await connect(server)
    js = client.nc.jetstream(timeout=SECONDS)
    await js.add_stream(name="STAY", subjects=["stay"])
    subscription = await js.pull_subscribe("stay", "worker")
    for n in range(10):
        await js.publish("stay", str(n).encode())
    for message in await subscription.fetch(4, timeout=SECONDS):
        await message.ack_sync()
    await server.restart()
    fresh = (await connect(server)).nc.jetstream(timeout=SECONDS)
    info = await fresh.consumer_info("STAY", "worker")
    assert (info.num_pending, info.ack_floor.stream_seq) == (6, 4)
    again = await fresh.pull_subscribe_bind(consumer="worker", stream="STAY")
    assert [message.data for message in await again.fetch(6, timeout=SECONDS)] == [
        str(n).encode() for n in range(4, 10)
    ]


async def test_direct_gets_and_headers(js):
    js = await js()
    await js.add_stream(name="DIRECT", subjects=["direct.>"], allow_direct=True)
    for n in range(3):
        await js.publish("direct.a", str(n).encode(), headers={"Kind": "test"})
    message = await js.get_msg("DIRECT", subject="direct.a", direct=True)
    assert (message.seq, message.data, message.headers["Kind"]) == (3, b"2", "test")
    following = await js.get_msg("DIRECT", seq=2, subject="direct.>", direct=True, next=True)
    assert following.seq == 2
    with pytest.raises(nats.js.errors.NotFoundError):
        await js.get_msg("DIRECT", seq=9, direct=True)


async def test_expectations(js):
    js = await js()
    await js.add_stream(name="EXPECT", subjects=["expect"])
    await js.publish("expect", b"1")
    await js.publish("expect", b"2", headers={api.Header.EXPECTED_LAST_SEQUENCE: "1"})
    with pytest.raises(nats.js.errors.APIError) as refused:
        await js.publish("expect", b"3", headers={api.Header.EXPECTED_LAST_SEQUENCE: "1"})
    assert refused.value.err_code == 10071
    with pytest.raises(nats.js.errors.APIError) as refused:
        await js.publish("expect", b"3", stream="OTHER")
    assert refused.value.err_code == 10060


async def test_a_consumer_filters_pauses_and_starts_where_it_should(js):
    js = await js()
    await js.add_stream(name="WHERE", subjects=["where.>"])
    for n in range(6):
        await js.publish(f"where.{n % 2}", str(n).encode())
    config = api.ConsumerConfig(
        durable_name="late",
        deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=3,
        filter_subject="where.1",
        ack_policy=api.AckPolicy.EXPLICIT,
    )
    await js.add_consumer("WHERE", config)
    subscription = await js.pull_subscribe_bind(consumer="late", stream="WHERE")
    assert [message.data for message in await subscription.fetch(2, timeout=SECONDS)] == [b"3", b"5"]
    last = api.ConsumerConfig(deliver_policy=api.DeliverPolicy.LAST_PER_SUBJECT, filter_subject="where.>")
    newest = await js.pull_subscribe("where.>", config=last)
    assert [message.data for message in await newest.fetch(2, timeout=SECONDS)] == [b"4", b"5"]
    until = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)).isoformat()
    assert (await js.pause_consumer("WHERE", "late", until)).paused
    assert not (await js.resume_consumer("WHERE", "late")).paused
    assert [info.name for info in await js.consumers_info("WHERE") if info.config.durable_name] == ["late"]
    assert await js.delete_consumer("WHERE", "late")


async def test_mirrors_and_sources(js):
    js = await js()
    await js.add_stream(name="ORIGIN", subjects=["origin.>"])
    for n in range(5):
        await js.publish(f"origin.{n}", b"x")
    await js.add_stream(name="MIRROR", mirror=api.StreamSource(name="ORIGIN"))
    source = api.StreamSource(name="ORIGIN", filter_subject="origin.3")
    await js.add_stream(name="SOURCED", sources=[source])
    for name, count in (("MIRROR", 5), ("SOURCED", 1)):
        async with asyncio.timeout(SECONDS):
            while (await js.stream_info(name)).state.messages < count:
                await asyncio.sleep(0.02)
    assert (await js.get_msg("MIRROR", seq=4)).subject == "origin.3"
    assert (await js.get_msg("SOURCED", seq=1)).subject == "origin.3"


async def test_services_are_found_and_asked(serve, connect):
    server = await serve("tcp", "jetstream")
    client = await connect(server)
    service = await nats.micro.add_service(client.nc, name="echo", version="1.2.3")

    async def again(request):
        await request.respond(request.data)

    await service.add_endpoint(name="again", subject="say.again", handler=again)
    other = (await connect(server)).nc
    assert (await other.request("say.again", b"hello", timeout=SECONDS)).data == b"hello"
    info = json.loads((await other.request("$SRV.INFO.echo", b"", timeout=SECONDS)).data)
    assert [endpoint["subject"] for endpoint in info["endpoints"]] == ["say.again"]
    stats = json.loads((await other.request("$SRV.STATS.echo", b"", timeout=SECONDS)).data)
    assert stats["endpoints"][0]["num_requests"] == 1
    await service.stop()
