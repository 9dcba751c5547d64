// nats.js in a headless Chromium, over WebSocket.

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import path from "node:path";
import { after, before } from "node:test";
import { headers } from "@nats-io/transport-node";
import { build } from "esbuild";
import { chromium } from "playwright-core";
import { collect, LIMIT_MS, onEach, request, until } from "../js/harness.mjs";

const TRANSPORTS = ["ws", "wss", "ws_compressed"];
const HTML = `<!doctype html><meta charset="utf-8"><title>interop</title>
<h1>nats.js in a browser</h1><pre id="log"></pre><script src="/page.js"></script>`;

let browser, site, origin;

before(async () => {
  const bundle = await build({
    entryPoints: [path.join(import.meta.dirname, "page.mjs")],
    bundle: true,
    write: false,
    format: "iife",
  });
  site = http.createServer((request, response) => {
    const script = request.url === "/page.js";
    response.setHeader("content-type", script ? "text/javascript" : "text/html");
    response.end(script ? bundle.outputFiles[0].text : HTML);
  }).listen(0, "127.0.0.1");
  await once(site, "listening");
  origin = `http://127.0.0.1:${site.address().port}`;
  browser = await chromium.launch({
    executablePath: process.env.INTEROP_CHROMIUM,
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync", "--ignore-certificate-errors",
    ],
  });
});

after(async () => {
  await browser?.close();
  site?.close();
});

// One test with a fresh page.
function inBrowser(transports, name, body) {
  onEach(transports, name, async (bench) => {
    const page = await browser.newPage();
    page.setDefaultTimeout(LIMIT_MS);
    try {
      await page.goto(origin);
      await body(bench, page);
    } finally {
      await page.screenshot({ path: path.join(process.env.INTEROP_OUT, "browser", `${name} ${bench.transport}.png`) });
      await page.close();
    }
  });
}

const open = (page, servers, options) =>
  page.evaluate(([urls, opts]) => open_connection(urls, opts), [[servers].flat().map(({ url }) => url), options]);
const subscribe = (page, subject, options) =>
  page.evaluate(([name, opts]) => collect(name, opts), [subject, options]);
const publish = (page, subject, text) =>
  page.evaluate(([name, body]) => nc.publish(name, body), [subject, text]);
const arrived = (page, subject, texts) =>
  page.waitForFunction(
    ([name, expected]) => JSON.stringify(seen[name]) === JSON.stringify(expected),
    [subject, texts],
  );
const saw = (page, status) =>
  page.waitForFunction((text) => statuses.includes(text), status);

inBrowser(TRANSPORTS, "a page and another client hear each other", async (bench, page) => {
  const server = await bench.serve();
  const { nc } = await bench.connect(server);
  await open(page, server);
  await subscribe(page, "to.*");
  const heard = collect(nc, "from.*");
  await nc.flush();

  const texts = ["short", "long ".repeat(20_000), ""];
  for (const text of texts) {
    nc.publish("to.page", text);
    await publish(page, "from.page", text);
  }
  await arrived(page, "to.*", texts);
  await until(() => heard.length === texts.length);
  assert.deepEqual(heard, texts);
});

inBrowser(TRANSPORTS, "queue groups, requests, headers and no responders", async (bench, page) => {
  const server = await bench.serve();
  const { nc } = await bench.connect(server);
  await open(page, server);
  await subscribe(page, "jobs", { queue: "workers" });
  for (let number = 0; number < 5; number++) nc.publish("jobs", `${number}`);
  await arrived(page, "jobs", ["0", "1", "2", "3", "4"]);

  await page.evaluate(() => {
    nc.subscribe("echo", { callback: (_, message) => message.respond(message.data, { headers: message.headers }) });
    return nc.flush();
  });
  const sent = headers();
  sent.append("Many", "one");
  sent.append("Many", "two");
  const reply = await request(nc, "echo", "question", { headers: sent });
  assert.equal(reply.string(), "question");
  assert.deepEqual(reply.headers.values("Many"), ["one", "two"]);

  nc.subscribe("double", { callback: (_, message) => message.respond(`${2 * message.string()}`) });
  await nc.flush();
  assert.equal(await page.evaluate(async () => (await nc.request("double", "21")).string()), "42");
  const failure = await page.evaluate(() => nc.request("nobody").catch((error) => error.isNoResponders()));
  assert.equal(failure, true);
});

inBrowser(["ws", "wss"], "user and permissions", async (bench, page) => {
  const server = await bench.serve("permissions");
  await assert.rejects(open(page, server, { user: "limited", pass: "wrong" }), /authorization violation/i);
  await open(page, server, { user: "limited", pass: "pw" });
  await publish(page, "closed", "no");
  await saw(page, `error: Permissions Violation for Publish to "closed"`);
  await subscribe(page, "open.>");
  await publish(page, "open.fine", "yes");
  await arrived(page, "open.>", ["yes"]);
});

inBrowser(["ws", "wss"], "subscriptions survive a restart of the server", async (bench, page) => {
  const server = await bench.serve();
  await open(page, server);
  await subscribe(page, "news");
  await server.restart();
  await saw(page, "reconnect");
  await publish(page, "news", "after");
  await arrived(page, "news", ["after"]);
});

inBrowser(["ws", "wss"], "lame duck moves the page to another server", async (bench, page) => {
  const leaving = await bench.serve("lame_duck");
  const staying = await bench.serve();
  await open(page, [leaving, staying]);
  await subscribe(page, "still.here");
  leaving.signal("SIGUSR2");
  await saw(page, "ldm");
  await saw(page, "reconnect");
  await publish(page, "still.here", "moved");
  await arrived(page, "still.here", ["moved"]);
});

inBrowser(["ws_compressed"], "a page negotiates compression", async (bench, page) => {
  const server = await bench.serve();
  const extensions = await page.evaluate(async (url) => {
    const socket = new WebSocket(url);
    await new Promise((resolve, reject) => Object.assign(socket, { onopen: resolve, onerror: reject }));
    socket.close();
    return socket.extensions;
  }, server.url);
  assert.match(extensions, /permessage-deflate/);
});

inBrowser(["ws_origin"], "only pages of an allowed origin connect", async (bench, page) => {
  const welcome = await bench.serve("", { env: { INTEROP_ORIGIN: origin } });
  const strict = await bench.serve("", { env: { INTEROP_ORIGIN: "http://elsewhere.test" } });
  await assert.rejects(open(page, strict));
  await open(page, welcome);
  await subscribe(page, "hello");
  await publish(page, "hello", "in");
  await arrived(page, "hello", ["in"]);
});
