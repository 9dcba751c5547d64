"""A real Prometheus scrapes /metrics, in both forms, and is asked what it has stored."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

SERVER = os.environ["INTEROP_SERVER"]
PLUGINS = os.environ.get("INTEROP_PLUGINS_DIR")
WORK = os.path.join(os.environ["INTEROP_OUT"], "work")
LIMIT_S = 30

CONFIG = """
host: 127.0.0.1, port: -1, http: "127.0.0.1:-1", server_name: scraped
jetstream {{ store_dir: "{folder}/js" }}
accounts {{ A {{ jetstream: enabled, users: [ {{ user: a, password: a }} ] }}, SYS {{ users: [] }} }}
system_account: SYS
no_auth_user: a
"""
# Every series that the exporter's dashboards draw, and more of each kind.
EXPECTED = {
    "gnatsd_varz_connections": 1,
    "gnatsd_varz_in_msgs": None,
    "gnatsd_varz_in_bytes": None,
    "gnatsd_varz_out_msgs": None,
    "gnatsd_varz_out_bytes": None,
    "gnatsd_varz_mem": None,
    "gnatsd_varz_cpu": None,
    "gnatsd_varz_subscriptions": None,
    "gnatsd_varz_slow_consumers": 0,
    "gnatsd_varz_jetstream_config_max_memory": None,
    "gnatsd_varz_jetstream_config_max_storage": None,
    "gnatsd_varz_jetstream_stats_memory": 0,
    "gnatsd_varz_jetstream_stats_storage": None,
    "gnatsd_connz_num_connections": 1,
    "gnatsd_accstatz_current_connections": 1,
    "gnatsd_healthz_status": 0,
    "gnatsd_subsz_num_subscriptions": None,
    "gnatsd_routez_num_routes": 0,
    "gnatsd_leafz_conn_nodes_total": 0,
    "jetstream_server_total_streams": 1,
    "jetstream_server_total_consumers": 1,
    "jetstream_stream_total_messages": 3,
    "jetstream_stream_total_bytes": None,
    "jetstream_stream_last_seq": 3,
    "jetstream_consumer_delivered_consumer_seq": 0,
    "jetstream_consumer_num_ack_pending": 0,
    "jetstream_consumer_num_pending": 3,
    "natsd_plugin_healthy": 1,
}


def main():
    folder = tempfile.mkdtemp(prefix="prometheus-", dir=WORK)
    started = time.monotonic()
    running = []
    try:
        ports = serve(folder, running)
        with Client(ports["nats"][0].rsplit(":", 1)[1]) as client:
            client.fill()
            metrics = ports["monitoring"][0] + "/metrics"
            check_forms(metrics)
            # The newest form that it knows, and the old one.
            for form, protocol in [("openmetrics", None), ("text", "PrometheusText0.0.4")]:
                scrape(folder, metrics, form, protocol, running)
    finally:
        for process in running:
            process.send_signal(signal.SIGTERM)
            process.wait()
    print(f"2 passed in {time.monotonic() - started:.1f}s")


def serve(folder, running):
    config = os.path.join(folder, "server.conf")
    with open(config, "w") as file:
        file.write(CONFIG.format(folder=folder))
    args = [SERVER, "-c", config, "--ports_file_dir", folder]
    args += ["--plugins-dir", PLUGINS] if PLUGINS else []
    with open(os.path.join(folder, "server.log"), "w") as log:
        running.append(subprocess.Popen(args, stdout=log, stderr=log))

    def ports():
        for name in os.listdir(folder):
            if name.endswith(".ports"):
                with open(os.path.join(folder, name)) as file:
                    return json.loads(file.read() or "null")

    return until(ports, "the ports of the server")


class Client:
    """Just enough of a client to make a stream with three messages and a consumer."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", int(port)), timeout=LIMIT_S)
        self.lines = self.socket.makefile("rb")

    def __enter__(self):
        self.lines.readline()
        self.socket.sendall(b'CONNECT {"verbose":false}\r\nSUB inbox 1\r\n')
        return self

    def __exit__(self, *_):
        self.socket.close()

    def request(self, subject, body):
        text = json.dumps(body).encode() if body else b"hello"
        self.socket.sendall(b"PUB %s inbox %d\r\n%s\r\n" % (subject.encode(), len(text), text))
        size = int(self.lines.readline().split()[-1])
        answer = json.loads(self.lines.read(size + 2))
        assert "error" not in answer, answer

    def fill(self):
        self.request("$JS.API.STREAM.CREATE.S", {"name": "S", "subjects": ["s"]})
        config = {"durable_name": "c", "ack_policy": "explicit", "description": 'with "quotes" and \\'}
        self.request("$JS.API.CONSUMER.DURABLE.CREATE.S.c", {"stream_name": "S", "config": config})
        for _ in range(3):
            self.request("s", None)


def check_forms(metrics):
    forms = {
        "text/plain": "text/plain; version=0.0.4; charset=utf-8",
        "application/openmetrics-text; version=1.0.0": "application/openmetrics-text; version=1.0.0; charset=utf-8",
    }
    for accepted, wanted in forms.items():
        with urllib.request.urlopen(urllib.request.Request(metrics, headers={"Accept": accepted})) as answer:
            kind, text = answer.headers["content-type"], answer.read().decode()
        assert kind == wanted, kind
        assert text.endswith("# EOF\n") == ("openmetrics" in wanted), text[-100:]


def scrape(folder, metrics, form, protocol, running):
    address = metrics.split("/")[2]
    config = os.path.join(folder, f"{form}.yml")
    job = {"job_name": form, "scrape_interval": "1s", "static_configs": [{"targets": [address]}]}
    if protocol and knows_protocols():
        job["scrape_protocols"] = [protocol]
    with open(config, "w") as file:
        json.dump({"scrape_configs": [job]}, file)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        own = f"127.0.0.1:{free.getsockname()[1]}"
    args = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/{form}", f"--web.listen-address={own}"]
    with open(os.path.join(folder, f"{form}.log"), "w") as log:
        running.append(subprocess.Popen(args, stdout=log, stderr=log))

    def ask(query):
        try:
            with urllib.request.urlopen(f"http://{own}/api/v1/query?query={query}") as answer:
                return json.load(answer)["data"]["result"]
        except OSError:
            return []

    until(lambda: [sample for sample in ask("up") if sample["value"][1] == "1"], "a scrape that worked")
    for name, wanted in EXPECTED.items():
        samples = until(lambda: ask(name), name)
        values = [float(sample["value"][1]) for sample in samples]
        assert wanted is None or wanted in values, f"{form}: {name} is {values}, not {wanted}"


def knows_protocols():
    """From 2.49 on, the form that is asked for can be chosen."""
    shown = subprocess.run(["prometheus", "--version"], capture_output=True, text=True)
    version = (shown.stdout + shown.stderr).split("version ")[1].split(".")
    return (int(version[0]), int(version[1])) >= (2, 49)


def until(condition, what):
    deadline = time.monotonic() + LIMIT_S
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            sys.exit(f"not within {LIMIT_S} s: {what}")
        time.sleep(0.1)


main()
