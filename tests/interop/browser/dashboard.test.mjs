// natsd's dashboard in a headless Chromium: live figures under load, on a screen and on a phone.

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before } from "node:test";
import { chromium } from "playwright-core";
import { LIMIT_MS, onEach, request } from "../js/harness.mjs";

const { INTEROP_CHROMIUM, INTEROP_OUT, INTEROP_SERVER } = process.env;
const SIZES = [
  { name: "1280 light", width: 1280, height: 900, colorScheme: "light" },
  { name: "1280 dark", width: 1280, height: 900, colorScheme: "dark" },
  { name: "390 light", width: 390, height: 844, colorScheme: "light" },
  { name: "390 dark", width: 390, height: 844, colorScheme: "dark" },
];
// The page has drawn something worth looking at after so many points.
const POINTS = 14;

let browser;

before(async () => {
  browser = await chromium.launch({
    executablePath: INTEROP_CHROMIUM,
    args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"],
  });
});
after(() => browser?.close());

// The reference has no such page.
const transports = path.basename(INTEROP_SERVER) === "nats-server" ? [] : ["tcp"];

for (const size of SIZES) onEach(transports, `the dashboard shows live figures, and fits: ${size.name}`, async (bench) => {
  const store = fs.mkdtempSync(path.join(INTEROP_OUT, "work", "dashboard-"));
  const server = await bench.serve("dashboard", { env: { JETSTREAM_DIR: store } });
  const url = `http://127.0.0.1:${server.env.MONITORING_PORT}/dashboard`;
  const stop = await load(bench, server);
  try {
    await look(url, size);
  } finally {
    stop();
  }
});

async function look(url, { name, width, height, colorScheme }) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme });
  const page = await context.newPage();
  page.setDefaultTimeout(3 * LIMIT_MS);
  const wrong = [];
  page.on("pageerror", (error) => wrong.push(error.message));
  page.on("console", (message) => message.type() === "error" && wrong.push(message.text()));
  page.on("request", (made) => made.url().startsWith(new URL(url).origin) || wrong.push(made.url()));
  try {
    await page.goto(url);
    await page.waitForFunction(() => document.getElementById("name").textContent === "orders-eu-1");
    const rate = () => page.textContent("#in-msgs");
    await page.waitForFunction(() => /^[1-9][\d.]*k?\/s$/.test(document.getElementById("in-msgs").textContent));
    const seen = [await rate(), await page.textContent("#out-bytes")];
    await page.waitForFunction(([messages, sum]) => {
      const text = (id) => document.getElementById(id).textContent;
      return text("in-msgs") !== messages && text("out-bytes") !== sum;
    }, seen);
    await page.waitForFunction((points) => {
      const line = document.querySelector("#chart-messages polyline.out");
      return line && line.getAttribute("points").split(" ").length >= points;
    }, POINTS);

    const text = await page.innerText("main");
    for (const part of ["ORDERS", "dispatch", "behind", "SHOP", "BILLING", "jetstream", "monitoring", "checkout (SHOP) connected"]) {
      assert.ok(text.includes(part), `no ${part} on the page:\n${text}`);
    }
    assert.equal(await page.textContent("#health"), "Healthy");
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.ok(overflow <= 0, `${overflow} pixels too wide`);
    assert.deepEqual(wrong, []);
  } finally {
    const folder = path.join(INTEROP_OUT, "browser");
    await page.screenshot({ path: path.join(folder, `dashboard ${name}.png`), fullPage: true });
    await context.close();
  }
}

// A shop with orders, two that read them and one that is far behind; rates that rise and fall.
async function load(bench, server) {
  const connect = async (name, user) => (await bench.connect(server, { name, user, pass: "pw" })).nc;
  const [checkout, dispatch, mail] = [await connect("checkout", "shop"), await connect("dispatch", "shop"), await connect("mail", "shop")];
  const ledger = await connect("ledger", "billing");
  for (const [nc, subject] of [[dispatch, "orders.>"], [mail, "orders.*.paid"], [mail, "stock.*"], [ledger, "invoices.*"]]) {
    nc.subscribe(subject, { callback: () => {} });
  }
  const api = async (nc, subject, body) => {
    const answer = await request(nc, `$JS.API.${subject}`, JSON.stringify(body));
    assert.equal(answer.json().error, undefined, answer.string());
  };
  const consumer = (nc, stream, name, filter) => api(nc, `CONSUMER.DURABLE.CREATE.${stream}.${name}`, {
    stream_name: stream,
    config: { durable_name: name, ack_policy: "explicit", filter_subject: filter },
  });
  await api(checkout, "STREAM.CREATE.ORDERS", { name: "ORDERS", subjects: ["orders.>"] });
  await api(checkout, "STREAM.CREATE.STOCK", { name: "STOCK", subjects: ["stock.*"], storage: "memory", max_msgs: 1000 });
  await api(ledger, "STREAM.CREATE.INVOICES", { name: "INVOICES", subjects: ["invoices.*"] });
  await consumer(checkout, "ORDERS", "dispatch", "orders.>");
  await consumer(checkout, "ORDERS", "reports", "orders.eu.paid");
  await consumer(ledger, "INVOICES", "bookkeeping");
  checkout.subscribe("fetched", { callback: () => {} });
  let round = 0;
  const timer = setInterval(() => {
    round += 1;
    const orders = 40 + Math.round(30 * Math.sin(round / 12)) + (round % 7);
    for (let number = 0; number < orders; number += 1) {
      checkout.publish(`orders.eu.${number % 3 ? "paid" : "new"}`, "x".repeat(60 + 10 * (round % 9)));
      if (number % 4 === 0) checkout.publish(`stock.${number}`, "9");
    }
    if (round % 3 === 0) ledger.publish("invoices.new", "x".repeat(200));
    checkout.publish("$JS.API.CONSUMER.MSG.NEXT.ORDERS.reports", JSON.stringify({ batch: 10, no_wait: true }), { reply: "fetched" });
  }, 100);
  return () => clearInterval(timer);
}
