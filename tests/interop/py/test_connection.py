"""Drain, reconnect, limits and lame duck: the life of a connection."""

import asyncio
import signal
import ssl

import nats.errors
import pytest
from harness import SECONDS, received, tls_context, until


async def test_draining_a_subscription_hands_over_what_is_pending(serve, connect, transport):
    server = await serve(transport)
    client, publisher = await connect(server), await connect(server)
    observer = await publisher.nc.subscribe("work")
    handled = []

    async def slowly(message):
        await asyncio.sleep(0.001)
        handled.append(message.data)

    subscription = await client.nc.subscribe("work", cb=slowly)
    await client.flush()
    for number in range(100):
        await publisher.nc.publish("work", str(number).encode())
    await received(observer, 100)

    await subscription.drain()
    await publisher.nc.publish("work", b"too late")
    await received(observer, 1)
    await client.flush()
    assert handled == [str(number).encode() for number in range(100)]


async def test_draining_a_connection_closes_it_cleanly(serve, connect, transport):
    server = await serve(transport)
    client, other = await connect(server), await connect(server)

    async def answer(message):
        await message.respond(b"done")

    await client.nc.subscribe("last", cb=answer)
    await client.flush()
    requests = [asyncio.ensure_future(other.nc.request("last", timeout=SECONDS)) for _ in range(20)]
    assert (await requests[0]).data == b"done"

    await client.nc.drain()
    await client.saw("closed")
    assert client.errors == []
    for request in requests[1:]:
        try:
            await request
        except nats.errors.NoRespondersError:
            pass  # sent after the subscription had gone


async def test_subscriptions_survive_a_restart_of_the_server(serve, connect, transport):
    server = await serve(transport)
    client = await connect(server)
    subscription = await client.nc.subscribe("news.*")
    queued = await client.nc.subscribe("news.*", queue="readers")
    await client.nc.publish("news.before", b"before")
    assert await received(subscription, 1) == await received(queued, 1) == ["before"]

    await server.restart()
    await client.saw("reconnected")
    assert "disconnected" in client.events
    await client.nc.publish("news.after", b"after")
    assert await received(subscription, 1) == await received(queued, 1) == ["after"]


async def test_the_client_refuses_more_than_max_payload(serve, connect, transport):
    client = await connect(await serve(transport, "small_payload"))
    assert client.nc.max_payload == 1024
    subscription = await client.nc.subscribe("size")
    with pytest.raises(nats.errors.MaxPayloadError):
        await client.nc.publish("size", bytes(1025))
    await client.nc.publish("size", bytes(1024))
    assert len((await subscription.next_msg(SECONDS)).data) == 1024


async def test_the_server_refuses_more_than_max_payload(serve, connect, transport):
    server = await serve(transport, "small_payload")
    client, other = await connect(server, allow_reconnect=False), await connect(server)
    client.nc._max_payload = 1 << 20  # a client that does not check
    await client.nc.publish("size", bytes(1025))
    await client.saw("closed")
    await other.flush()
    assert other.events == []


async def test_lame_duck_moves_clients_to_another_server(serve, connect, transport):
    leaving = await serve(transport, "lame_duck")
    staying = await serve(transport)
    client = await connect(leaving, staying)
    subscription = await client.nc.subscribe("still.here")
    await client.flush()

    leaving.signal(signal.SIGUSR2)
    await client.saw("lame duck")
    await client.saw("reconnected")
    assert client.nc.connected_url.port == int(staying.url.rsplit(":", 1)[1])
    await client.nc.publish("still.here", b"moved")
    assert await received(subscription, 1) == ["moved"]
    assert await leaving.exit_code() == 0


async def test_a_server_in_lame_duck_takes_nobody_new(serve, connect):
    server = await serve("tcp", "lame_duck")
    client = await connect(server, allow_reconnect=False)
    server.signal(signal.SIGUSR2)
    await client.saw("lame duck")
    with pytest.raises(nats.errors.NoServersError):
        await connect(server, allow_reconnect=False)
    await until(lambda: client.nc.is_closed)


@pytest.mark.parametrize("transport", ["tls", "tls_first", "wss"])
async def test_tls_with_an_unknown_authority_fails(serve, connect, transport):
    server = await serve(transport)
    with pytest.raises((nats.errors.NoServersError, ssl.SSLError, OSError)):
        await connect(server, tls=ssl.create_default_context(), allow_reconnect=False)
    assert (await connect(server)).nc.is_connected


async def test_plain_client_on_a_tls_port_fails(serve, connect):
    server = await serve("tls")
    server.transport = "tcp"
    with pytest.raises((nats.errors.Error, OSError)):
        await connect(server, allow_reconnect=False, tls=None)


async def test_a_client_certificate_names_the_user(serve, connect):
    server = await serve("mtls")
    client = await connect(server, tls=tls_context(client_certificate=True))
    subscription = await client.nc.subscribe("mapped")
    await client.nc.publish("mapped", b"in")
    assert await received(subscription, 1) == ["in"]
    with pytest.raises((nats.errors.Error, OSError)):
        await connect(server, allow_reconnect=False)
