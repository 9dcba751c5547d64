// Asks the monitoring endpoints again and again and shows what they say. It changes nothing on the server.

import { Chart } from "./chart.js";
import { History } from "./events.js";
import { bytes, count, shown, percent } from "./text.js";

const FAST_MS = 1000;
const SLOW_MS = 3000;
const SPAN_MS = 5 * 60 * 1000;
// A page is no report: of more than this only the sum is told.
const ROWS_MAX = 12;
const STREAMS_MAX = 20;
const CONSUMERS_MAX = 10;

const place = (id) => document.getElementById(id);
const put = (id, text) => { place(id).textContent = text; };
const charts = {
  messages: new Chart(place("chart-messages"), ["in", "out"], { format: count, base: 1000 }, SPAN_MS),
  bytes: new Chart(place("chart-bytes"), ["in", "out"], { format: bytes, base: 1024 }, SPAN_MS),
  connections: new Chart(place("chart-connections"), ["in"], { format: count, base: 1000 }, SPAN_MS),
};
const history = new History(place("events"));
let before = null;

// Endpoints stand beside the page's own folder, whatever the base path.
async function ask(path) {
  const answer = await fetch(path, { cache: "no-store" });
  return answer.json();
}

async function fast() {
  const varz = await ask("varz");
  showServer(varz);
  if (before) showRates(varz, before);
  before = varz;
}

async function slow() {
  const [connz, closed, newest, accstatz, jsz, pluginz, healthz] = await Promise.all([
    ask(`connz?sort=msgs_to&limit=${ROWS_MAX}&auth=1`),
    ask("connz?state=closed&sort=stop&limit=20&auth=1"),
    latest(),
    ask("accstatz?unused=1"),
    ask("jsz?accounts=1&streams=1&consumers=1&limit=64"),
    ask("pluginz"),
    ask("healthz?details=1"),
  ]);
  showClients(connz);
  showAccounts(accstatz.account_statz);
  showStreams(jsz);
  showPlugins(pluginz.plugins);
  showHealth(healthz);
  history.note({ closed: closed.connections, opened: newest.connections, varz: before, plugins: pluginz.plugins, jsz, healthz });
}

// Those that came last: ids rise.
async function latest() {
  const { total } = await ask("connz?limit=1");
  return ask(`connz?offset=${Math.max(0, total - 20)}&limit=20&auth=1`);
}

function showServer(varz) {
  document.title = `${varz.server_name} · natsd`;
  put("name", varz.server_name);
  const version = varz.natsd ? `natsd ${varz.natsd.version}, as NATS ${varz.version}` : `NATS ${varz.version}`;
  put("about", `${version} · ${varz.host}:${varz.port} · up ${varz.uptime}`);
  put("connections", count(varz.connections));
  put("connections-more", `${count(varz.total_connections)} since the start`);
  put("subscriptions", count(varz.subscriptions));
  const slow = varz.slow_consumers;
  put("subscriptions-more", slow === 0 ? "no slow consumers" : `${count(slow)} slow ${slow === 1 ? "consumer" : "consumers"}`);
  put("cpu", percent(varz.cpu));
  put("cpu-more", `of ${varz.cores} × 100 %`);
  put("mem", bytes(varz.mem));
  const store = varz.jetstream?.stats;
  put("mem-more", store ? `${bytes(store.storage)} on disk` : "");
}

function showRates(varz, last) {
  const atMs = Date.parse(varz.now);
  const seconds = (atMs - Date.parse(last.now)) / 1000;
  // A server that was started anew counts from 0.
  if (seconds <= 0 || varz.start !== last.start) return;
  const rate = (name) => Math.max(0, (varz[name] - last[name]) / seconds);
  charts.messages.add(atMs, [rate("in_msgs"), rate("out_msgs")]);
  charts.bytes.add(atMs, [rate("in_bytes"), rate("out_bytes")]);
  charts.connections.add(atMs, [varz.connections]);
  for (const way of ["in", "out"]) {
    put(`${way}-msgs`, `${count(rate(`${way}_msgs`))}/s`);
    put(`${way}-bytes`, `${bytes(rate(`${way}_bytes`))}/s · ${count(varz[`${way}_msgs`])} in all`);
  }
}

function showClients(connz) {
  const rows = connz.connections.map((client) => [
    client.name || `cid ${client.cid}`,
    client.account || "$G",
    `${client.ip}:${client.port}`,
    count(client.subscriptions),
    count(client.in_msgs),
    count(client.out_msgs),
    client.pending_bytes ? bytes(client.pending_bytes) : "–",
  ]);
  fill("clients", rows, [1, 2, 3], "Nobody is connected.");
  put("clients-more", connz.total > rows.length ? `${rows.length} of ${count(connz.total)}` : "");
}

function showAccounts(accounts) {
  const busy = [...accounts].sort((a, b) => b.conns - a.conns || b.received.msgs - a.received.msgs);
  const rows = busy.slice(0, ROWS_MAX).map((account) => [
    account.name,
    count(account.conns),
    count(account.num_subscriptions),
    count(account.received.msgs),
    count(account.sent.msgs),
  ]);
  fill("accounts", rows, [2], "There are no accounts.");
  put("accounts-more", accounts.length > rows.length ? `${rows.length} of ${count(accounts.length)}` : "");
}

// `wide`: columns that a phone has no room for.
function fill(id, rows, wide, nothing) {
  const made = rows.map((cells) => {
    const row = document.createElement("tr");
    cells.forEach((text, column) => {
      const cell = row.insertCell();
      cell.textContent = text;
      if (column === 0) cell.title = text;
      if (wide.includes(column)) cell.className = "wide";
    });
    return row;
  });
  if (made.length === 0) {
    const row = document.createElement("tr");
    const cell = row.insertCell();
    cell.colSpan = 9;
    cell.append(shown("p", "none", nothing));
    made.push(row);
  }
  place(id).replaceChildren(...made);
}

function showStreams(jsz) {
  const list = place("streams");
  if (jsz.disabled) return list.replaceChildren(shown("p", "none", "JetStream is off."));
  const streams = (jsz.account_details ?? []).flatMap((account) =>
    (account.stream_detail ?? []).map((stream) => ({ ...stream, account: account.name })));
  const lag = (stream) => Math.max(0, ...(stream.consumer_detail ?? []).map((consumer) => consumer.num_pending));
  streams.sort((a, b) => lag(b) - lag(a) || a.name.localeCompare(b.name));
  const made = streams.slice(0, STREAMS_MAX).map(stream_of);
  list.replaceChildren(...(made.length ? made : [shown("p", "none", "There are no streams.")]));
  put("streams-more", jsz.streams > made.length
    ? `${made.length} of ${count(jsz.streams)}, the furthest behind first`
    : `${count(jsz.messages)} messages, ${bytes(jsz.bytes)}`);
}

function stream_of(stream) {
  const block = shown("div", "stream");
  const head = shown("p");
  head.append(
    shown("strong", "", stream.name),
    shown("span", "quiet", `${stream.account} · ${count(stream.state.messages)} messages · ${bytes(stream.state.bytes)}`),
  );
  const consumers = [...(stream.consumer_detail ?? [])].sort((a, b) => b.num_pending - a.num_pending);
  block.append(head, ...consumers.slice(0, CONSUMERS_MAX).map((consumer) => consumer_of(consumer, stream)));
  if (consumers.length > CONSUMERS_MAX) {
    block.append(shown("p", "quiet", `and ${consumers.length - CONSUMERS_MAX} consumers more`));
  }
  return block;
}

function consumer_of(consumer, stream) {
  const row = shown("div", "consumer");
  const behind = consumer.num_pending;
  const bar = shown("div", "bar");
  const filled = shown("i", behind > stream.state.messages / 2 && behind > 0 ? "full" : "");
  filled.style.width = `${Math.min(100, (100 * behind) / Math.max(1, stream.state.messages))}%`;
  bar.append(filled);
  const waiting = consumer.num_ack_pending ? ` · ${count(consumer.num_ack_pending)} unacked` : "";
  row.append(
    shown("span", "name", consumer.name),
    bar,
    shown("span", "lag", behind === 0 && !waiting ? "up to date" : `${count(behind)} behind${waiting}`),
  );
  return row;
}

function showPlugins(plugins) {
  const rows = plugins.map((plugin) => {
    const row = shown("li");
    const names = shown("span");
    names.append(shown("strong", "", plugin.name), shown("span", "quiet", ` ${plugin.version}`));
    const [state, kind] = state_of(plugin);
    const pill = shown("span", `pill ${kind}`, state);
    pill.title = plugin.why;
    row.append(names, pill);
    return row;
  });
  place("plugins").replaceChildren(...rows);
}

function state_of({ state, healthy, health }) {
  if (["failed", "faulted"].includes(state)) return [state, "bad"];
  if (state === "started") return healthy ? ["healthy", "good"] : [health, "bad"];
  return state === "draining" ? [state, "warn"] : ["not in use", ""];
}

function showHealth(healthz) {
  const pill = place("health");
  const problems = healthz.errors ?? [];
  pill.textContent = healthz.status === "ok" ? "Healthy" : problems.length > 1 ? `${problems.length} problems` : "Unwell";
  pill.className = `pill ${healthz.status === "ok" ? "good" : "bad"}`;
  pill.title = problems.map((problem) => problem.error).join("\n");
}

// One that fails waits as long as one that does not; a page that nobody sees asks nothing.
async function repeat(work, everyMs) {
  for (;;) {
    if (!document.hidden) {
      try {
        await work();
        trouble("");
      } catch (error) {
        trouble(`The server does not answer: ${error.message}. These are its last figures.`);
      }
    }
    await new Promise((done) => setTimeout(done, everyMs));
  }
}

function trouble(text) {
  put("trouble", text);
  place("trouble").hidden = text === "";
  document.body.classList.toggle("stale", text !== "");
}

repeat(fast, FAST_MS);
repeat(slow, SLOW_MS);
