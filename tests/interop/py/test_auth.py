"""Who may connect, and what they may do then."""

import os

import nats.errors
import nkeys
import pytest
from harness import SECONDS, received


def nkey_pair():
    """A fresh user key: its seed as text and its public key."""
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    return seed.decode(), nkeys.from_seed(seed).public_key.decode()


SEED, PUBLIC = nkey_pair()
LONG_PASSWORD = "lovelace-lovelace-lovelace"

CREDENTIALS = {
    "token": ({"token": "s3cret-token"}, {"token": "wrong"}),
    "user": ({"user": "ada", "password": "lovelace"}, {"user": "ada", "password": "wrong"}),
    "bcrypt": ({"user": "ada", "password": LONG_PASSWORD}, {"user": "ada", "password": "wrong"}),
    "nkey": ({"nkeys_seed_str": SEED}, {"nkeys_seed_str": nkey_pair()[0]}),
}


@pytest.mark.parametrize("scenario", CREDENTIALS)
async def test_right_credentials_pass_and_others_do_not(serve, connect, transport, scenario):
    right, wrong = CREDENTIALS[scenario]
    server = await serve(transport, scenario, env={"INTEROP_NKEY": PUBLIC})

    client = await connect(server, **right)
    subscription = await client.nc.subscribe("in")
    await client.nc.publish("in", b"side")
    assert await received(subscription, 1) == ["side"]

    for options in (wrong, {}):
        with pytest.raises(nats.errors.Error, match="(?i)authorization violation"):
            await connect(server, allow_reconnect=False, **options)


async def test_credentials_in_the_url(serve, connect):
    server = await serve("tcp", "user")
    url = server.url.replace("://", "://ada:lovelace@")
    assert (await connect(server, urls=[url])).nc.is_connected


def as_user(name):
    return {"user": name, "password": "pw"}


async def test_a_publish_violation_is_reported_and_the_connection_goes_on(serve, connect, transport):
    server = await serve(transport, "permissions")
    admin, limited = await connect(server, **as_user("admin")), await connect(server, **as_user("limited"))
    everything = await admin.nc.subscribe(">")
    await admin.flush()

    for subject in ("closed", "open.secret"):
        await limited.nc.publish(subject, b"no")
        await limited.saw_error(f'permissions violation for publish to "{subject}"')
    await limited.nc.publish("open.fine", b"yes")
    assert await received(everything, 1) == ["yes"]
    assert limited.events == []


@pytest.mark.parametrize(
    ("subject", "queue", "violation"),
    [
        ("closed", "", 'subscription to "closed"'),
        ("open.secret", "", 'subscription to "open.secret"'),
        ("jobs", "", 'subscription to "jobs"'),
        ("jobs", "others", 'subscription to "jobs" using queue "others"'),
        ("open.>", "", None),
        ("jobs", "workers", None),
    ],
)
async def test_subscribe_permissions(serve, connect, subject, queue, violation):
    server = await serve("tcp", "permissions")
    limited = await connect(server, **as_user("limited"))
    await limited.nc.subscribe(subject, queue=queue)
    await limited.flush()
    if violation:
        await limited.saw_error(f"permissions violation for {violation}")
    else:
        assert limited.errors == []


async def test_a_denied_subject_does_not_arrive_through_a_wildcard(serve, connect, transport):
    server = await serve(transport, "permissions")
    admin, limited = await connect(server, **as_user("admin")), await connect(server, **as_user("limited"))
    subscription = await limited.nc.subscribe("open.*")
    await limited.flush()
    await admin.nc.publish("open.secret", b"hidden")
    await admin.nc.publish("open.fine", b"shown")
    assert await received(subscription, 1) == ["shown"]


async def test_a_replier_may_answer_once(serve, connect, transport):
    server = await serve(transport, "permissions")
    admin, replier = await connect(server, **as_user("admin")), await connect(server, **as_user("replier"))

    async def answer_twice(message):
        await message.respond(b"first")
        await message.respond(b"second")

    await replier.nc.subscribe("service", cb=answer_twice)
    await replier.flush()
    assert (await admin.nc.request("service", timeout=SECONDS)).data == b"first"
    await replier.saw_error("permissions violation for publish to")


async def test_accounts_do_not_see_each_other(serve, connect, transport):
    server = await serve(transport, "accounts")
    a, b = await connect(server, **as_user("a")), await connect(server, **as_user("b"))
    anonymous = await connect(server)  # no_auth_user puts it into b's account
    in_a = await a.nc.subscribe("shared.name")
    in_b = [await client.nc.subscribe("shared.name") for client in (b, anonymous)]
    for client in (a, b, anonymous):
        await client.flush()

    await a.nc.publish("shared.name", b"for a")
    await a.flush()
    await b.nc.publish("shared.name", b"for b")
    assert await received(in_a, 1) == ["for a"]
    for subscription in in_b:
        assert await received(subscription, 1) == ["for b"]
    assert in_a.pending_msgs == 0
