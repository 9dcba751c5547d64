"""Fixtures: `serve` starts servers, `connect` opens clients; both end with the test."""

import itertools

import pytest
import pytest_asyncio
from harness import TRANSPORTS, Client, Server


@pytest.fixture(params=TRANSPORTS)
def transport(request):
    return request.param


@pytest_asyncio.fixture
async def serve(tmp_path):
    servers, numbers = [], itertools.count()

    async def start(transport, scenario=None, env=None):
        folder = tmp_path / f"server-{next(numbers)}"
        folder.mkdir()
        servers.append(Server(folder, transport, scenario, env))
        return await servers[-1].start()

    yield start
    for server in servers:
        await server.stop()


@pytest_asyncio.fixture
async def connect(serve):  # after `serve`, so that clients close first
    clients = []

    async def open_client(*servers, **options):
        clients.append(await Client().open(servers, **options))
        return clients[-1]

    yield open_client
    for client in clients:
        if not client.nc.is_closed:
            await client.nc.close()
