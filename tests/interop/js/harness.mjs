// Starts a server with one transport and one scenario of ../conf, and connects to it.
// Not for what a test checks: every test says that itself.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { connect as tcpConnect, wsconnect } from "@nats-io/transport-node";
import WebSocket from "ws";

const { INTEROP_SERVER, INTEROP_PLUGINS_DIR, INTEROP_CONF, INTEROP_CERTS, INTEROP_OUT } = process.env;

export const TRANSPORTS = ["tcp", "tls", "tls_first", "ws", "wss"];
export const LIMIT_MS = 10_000; // how long anything that must happen may take

export const cert = (name) => fs.readFileSync(path.join(INTEROP_CERTS, name), "utf8");

// The runner ends a file that takes too long by SIGTERM: no server outlives it.
const running = new Set();
process.once("SIGTERM", () => process.exit(1));
process.once("exit", () => running.forEach((child) => child.kill("SIGKILL")));

// One server process, on free ports that it keeps across `restart`.
class Server {
  constructor(folder, transport, conf, env) {
    Object.assign(this, { folder, transport });
    this.env = { ...process.env, NATS_PORT: "-1", WEBSOCKET_PORT: "-1", JETSTREAM_DIR: folder, ...env };
    this.config = path.join(folder, "server.conf");
    fs.writeFileSync(this.config, conf);
  }

  async start() {
    const args = ["-c", this.config, "--ports_file_dir", this.folder];
    if (INTEROP_PLUGINS_DIR) args.push("--plugins-dir", INTEROP_PLUGINS_DIR);
    const log = fs.openSync(this.logFile, "a");
    this.process = spawn(INTEROP_SERVER, args, { cwd: INTEROP_CERTS, env: this.env, stdio: ["ignore", log, log] });
    fs.closeSync(log);
    running.add(this.process);
    this.exited = once(this.process, "exit").finally(() => running.delete(this.process));
    const ports = await until(() => this.#ports(), () => this.log());
    for (const [kind, urls] of Object.entries(ports)) {
      this.env[`${kind.toUpperCase()}_PORT`] = urls[0].split(":").at(-1);
    }
    return this;
  }

  #ports() {
    assert.equal(this.process.exitCode, null, this.log());
    const file = fs.readdirSync(this.folder).find((name) => name.endsWith(`_${this.process.pid}.ports`));
    try {
      return file && JSON.parse(fs.readFileSync(path.join(this.folder, file), "utf8"));
    } catch (_) {
      return undefined; // still being written
    }
  }

  get logFile() {
    return path.join(this.folder, "server.log");
  }

  log() {
    return fs.readFileSync(this.logFile, "utf8");
  }

  get url() {
    const { transport, env } = this;
    if (!transport.startsWith("ws")) return `localhost:${env.NATS_PORT}`;
    return `${transport === "wss" ? "wss" : "ws"}://localhost:${env.WEBSOCKET_PORT}`;
  }

  signal(name) {
    this.process.kill(name);
  }

  async exitCode() {
    const [code] = await within(this.exited, "the server did not exit");
    return code;
  }

  async stop() {
    if (this.process?.exitCode === null) this.signal("SIGTERM");
    assert.equal(await this.exitCode(), 0, this.log());
  }

  async restart() {
    await this.stop();
    await this.start();
  }
}

// A nats.js connection with the statuses it reported.
class Client {
  statuses = [];

  async open(servers, options) {
    const { transport } = servers[0];
    const common = {
      servers: servers.map((server) => server.url),
      noRandomize: true,
      reconnectTimeWait: 50,
      reconnectJitter: 0,
      reconnectJitterTLS: 0,
      maxReconnectAttempts: LIMIT_MS / 50,
    };
    if (transport.startsWith("ws")) {
      common.wsFactory = (url) => ({
        socket: new WebSocket(url, { ca: cert("ca.pem"), ...options.tls }),
        encrypted: transport === "wss",
      });
      this.nc = await wsconnect({ ...common, ...options, tls: undefined });
    } else {
      if (transport !== "tcp") common.tls = { ca: cert("ca.pem"), handshakeFirst: transport === "tls_first" };
      this.nc = await tcpConnect({ ...common, ...options, tls: common.tls && { ...common.tls, ...options.tls } });
    }
    this.#watch(this.nc.status());
    return this;
  }

  async #watch(statuses) {
    for await (const status of statuses) this.statuses.push(status);
  }

  // Waits for a status of this type that the check accepts.
  saw(type, check = () => true) {
    return until(
      () => this.statuses.find((status) => status.type === type && check(status)),
      () => `${type} among ${JSON.stringify(this.statuses)}`,
    );
  }

  violation(operation, subject, queue) {
    return this.saw("error", ({ error }) =>
      error.name === "PermissionViolationError" && error.operation === operation &&
      error.subject === subject && error.queue === queue);
  }
}

// What a test gets: servers and clients that end with it.
class Bench {
  #servers = [];
  #clients = [];

  constructor(transport) {
    this.transport = transport;
  }

  serve(scenario, { transport = this.transport, env } = {}) {
    const parent = path.join(INTEROP_OUT, "work");
    const folder = fs.mkdtempSync(path.join(parent, "js-"));
    const conf = [transport, scenario].filter(Boolean)
      .map((name) => fs.readFileSync(path.join(INTEROP_CONF, `${name}.conf`), "utf8"));
    const server = new Server(folder, transport, conf.join("\n"), env);
    this.#servers.push(server);
    return server.start();
  }

  async connect(servers, options = {}) {
    const client = await new Client().open([servers].flat(), options);
    this.#clients.push(client);
    return client;
  }

  async end() {
    for (const client of this.#clients) await client.nc.close();
    for (const server of this.#servers) await server.stop();
  }
}

// Registers the test once for each transport.
export function onEach(transports, name, body) {
  for (const transport of transports) {
    test(`${name} [${transport}]`, async () => {
      const bench = new Bench(transport);
      try {
        await body(bench);
      } finally {
        await bench.end();
      }
    });
  }
}

// Waits until the condition gives something true, and returns that.
export async function until(condition, describe = () => "") {
  const deadline = Date.now() + LIMIT_MS;
  for (;;) {
    const value = condition();
    if (value) return value;
    assert.ok(Date.now() < deadline, `not within ${LIMIT_MS} ms: ${describe()}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export function within(promise, message) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${LIMIT_MS} ms: ${message}`)), LIMIT_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// Collects the messages of a subscription as text.
export function collect(nc, subject, options = {}) {
  const seen = [];
  nc.subscribe(subject, { ...options, callback: (error, message) => error ? seen.push(error) : seen.push(message.string()) });
  return seen;
}

export const request = (nc, subject, payload, options = {}) =>
  nc.request(subject, payload, { timeout: LIMIT_MS, ...options });
