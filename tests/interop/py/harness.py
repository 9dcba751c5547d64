"""Starts a server with one transport and one scenario of ../conf, and connects to it.

Not for what a test checks: every test says that itself.
"""

import asyncio
import json
import os
import pathlib
import signal
import ssl
import time

import nats

SERVER = os.environ["INTEROP_SERVER"]
PLUGINS_DIR = os.environ.get("INTEROP_PLUGINS_DIR")
CONF = pathlib.Path(os.environ["INTEROP_CONF"])
CERTS = pathlib.Path(os.environ["INTEROP_CERTS"])

TRANSPORTS = ["tcp", "tls", "tls_first", "ws", "wss"]
SECONDS = 10  # how long anything that must happen may take


class Server:
    """One server process, on free ports that it keeps across `restart`."""

    def __init__(self, folder, transport, scenario=None, env=None):
        self.folder, self.transport = folder, transport
        variables = {"NATS_PORT": "-1", "WEBSOCKET_PORT": "-1", "JETSTREAM_DIR": str(folder)}
        self.env = {**os.environ, **variables, **(env or {})}
        self.config = folder / "server.conf"
        parts = [transport] + ([scenario] if scenario else [])
        self.config.write_text("\n".join((CONF / f"{p}.conf").read_text() for p in parts))
        self.process = None

    async def start(self):
        command = [SERVER, "-c", self.config, "--ports_file_dir", self.folder]
        if PLUGINS_DIR:
            command += ["--plugins-dir", PLUGINS_DIR]
        with open(self.folder / "server.log", "ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *command, cwd=CERTS, env=self.env, stderr=log, stdout=log
            )
        ports = await self._ports()
        for kind in ports:
            self.env[f"{kind.upper()}_PORT"] = ports[kind][0].rsplit(":", 1)[1]
        return self

    async def _ports(self):
        found = {}

        def listening():
            assert self.process.returncode is None, self.log()
            for file in self.folder.glob(f"*_{self.process.pid}.ports"):
                try:
                    found.update(json.loads(file.read_text()))
                except json.JSONDecodeError:
                    pass  # still being written
            return bool(found)

        await until(listening)
        return found

    @property
    def url(self):
        if self.transport in ("ws", "wss"):
            return f"{self.transport}://localhost:{self.env['WEBSOCKET_PORT']}"
        scheme = "nats" if self.transport == "tcp" else "tls"
        return f"{scheme}://localhost:{self.env['NATS_PORT']}"

    def log(self):
        return (self.folder / "server.log").read_text()

    def signal(self, number):
        self.process.send_signal(number)

    async def exit_code(self, seconds=SECONDS):
        return await asyncio.wait_for(self.process.wait(), seconds)

    async def stop(self):
        if self.process and self.process.returncode is None:
            self.signal(signal.SIGTERM)
            assert await self.exit_code() == 0, self.log()

    async def restart(self):
        await self.stop()
        await self.start()


def tls_context(client_certificate=False):
    context = ssl.create_default_context(cafile=CERTS / "ca.pem")
    if client_certificate:
        context.load_cert_chain(CERTS / "client.pem", CERTS / "client.key")
    return context


class Client:
    """A nats-py connection with everything it was told by callback."""

    def __init__(self):
        self.errors, self.events = [], []

    async def open(self, servers, urls=None, **options):
        transport = servers[0].transport
        # Enough attempts for SECONDS; one that may not reconnect gives up at once.
        attempts = SECONDS * 20 if options.get("allow_reconnect", True) else 1
        if transport in ("tls", "tls_first", "wss", "mtls"):
            options.setdefault("tls", tls_context())
        self.nc = await nats.connect(
            urls or [server.url for server in servers],
            dont_randomize=True,
            tls_handshake_first=transport == "tls_first",
            error_cb=self._error,
            disconnected_cb=self._note("disconnected"),
            reconnected_cb=self._note("reconnected"),
            lame_duck_mode_cb=self._note("lame duck"),
            closed_cb=self._note("closed"),
            reconnect_time_wait=0.05,
            max_reconnect_attempts=attempts,
            **options,
        )
        return self

    async def _error(self, error):
        self.errors.append(str(error))

    def _note(self, event):
        async def callback():
            self.events.append(event)

        return callback

    async def flush(self):
        """Until the server has taken what came before. Twice: nats-py's first PING can overtake a SUB that it still
        holds back, and over WebSocket another client's message then comes before the subscription."""
        await self.nc.flush()
        await self.nc.flush()

    async def saw_error(self, text):
        await until(lambda: any(text in error for error in self.errors), lambda: self.errors)

    async def saw(self, event):
        await until(lambda: event in self.events, lambda: self.events)


async def until(condition, describe=lambda: ""):
    """Waits for a condition, and fails with `describe()` when it does not come true."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {SECONDS}s: {describe()}"
        await asyncio.sleep(0.01)


async def received(subscription, count):
    """The payloads of the next `count` messages, as text."""
    return [(await subscription.next_msg(SECONDS)).data.decode() for _ in range(count)]
