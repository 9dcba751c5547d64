// Publish, subscribe, request: what every application does, on every transport.

import assert from "node:assert/strict";
import { headers } from "@nats-io/transport-node";
import { collect, LIMIT_MS, onEach, request, TRANSPORTS, until } from "./harness.mjs";

onEach(TRANSPORTS, "a message reaches each subscriber once", async (bench) => {
  const server = await bench.serve();
  const clients = [await bench.connect(server), await bench.connect(server)];
  const seen = clients.map(({ nc }) => collect(nc, "greet"));
  for (const { nc } of clients) await nc.flush();

  for (const text of ["one", "", "three"]) clients[0].nc.publish("greet", text);
  await until(() => seen.every((texts) => texts.length === 3));
  assert.deepEqual(seen, [["one", "", "three"], ["one", "", "three"]]);
});

onEach(TRANSPORTS, "a large message arrives whole", async (bench) => {
  const { nc } = await bench.connect(await bench.serve());
  const body = Uint8Array.from({ length: 1 << 20 }, (_, index) => index * 7);
  let seen;
  nc.subscribe("large", { callback: (_, message) => seen = message.data });
  nc.publish("large", body);
  assert.equal(Buffer.compare(await until(() => seen), body), 0);
});

// The frame must stay below max_payload once inflated: nats-server refuses it otherwise.
const TEXTS = [10, 100, 1_000, 10_000, 800_000].map((size) => "compressible ".repeat(size / 10));
onEach(["ws_compressed"], "compressed frames of all sizes", async (bench) => {
  const { nc } = await bench.connect(await bench.serve());
  const seen = collect(nc, "sizes");
  for (const text of TEXTS) {
    nc.publish("sizes", text);
    await nc.flush();
  }
  assert.deepEqual(seen, TEXTS);
});

onEach(TRANSPORTS, "noEcho keeps own messages away", async (bench) => {
  const server = await bench.serve();
  const quiet = await bench.connect(server, { noEcho: true });
  const other = await bench.connect(server);
  const seen = collect(quiet.nc, "room");
  quiet.nc.publish("room", "own");
  await quiet.nc.flush();
  other.nc.publish("room", "other");
  await until(() => seen.length > 0);
  assert.deepEqual(seen, ["other"]);
});

const SUBJECTS = ["a", "a.b", "a.c", "x.b", "a.b.c"];
const PATTERNS = {
  "a.b": ["a.b"],
  "a.*": ["a.b", "a.c"],
  "*.b": ["a.b", "x.b"],
  "*.*": ["a.b", "a.c", "x.b"],
  "a.>": ["a.b", "a.c", "a.b.c"],
  "a.*.c": ["a.b.c"],
  ">": SUBJECTS,
};
onEach(TRANSPORTS, "wildcards", async (bench) => {
  const { nc } = await bench.connect(await bench.serve());
  const seen = Object.fromEntries(Object.keys(PATTERNS).map((pattern) => [pattern, collect(nc, pattern)]));
  for (const subject of SUBJECTS) nc.publish(subject, subject);
  await nc.flush();
  assert.deepEqual(seen, PATTERNS);
});

onEach(TRANSPORTS, "a queue group shares what others all get", async (bench) => {
  const server = await bench.serve();
  const publisher = await bench.connect(server);
  const worker = await bench.connect(server);
  const shares = [1, 2, 3].map(() => collect(worker.nc, "jobs.*", { queue: "workers" }));
  const all = collect(worker.nc, "jobs.>");
  await worker.nc.flush();

  for (let number = 0; number < 300; number++) publisher.nc.publish(`jobs.${number}`, `${number}`);
  await publisher.nc.flush();
  await until(() => all.length === 300, () => all.length);
  await worker.nc.flush();
  assert.ok(shares.every((share) => share.length > 0), "a member got nothing");
  assert.deepEqual(shares.flat().sort(), [...all].sort());
});

onEach(TRANSPORTS, "unsubscribe after a number of messages", async (bench) => {
  const { nc } = await bench.connect(await bench.serve());
  const limited = collect(nc, "ticks", { max: 2 });
  const all = collect(nc, "ticks");
  for (const text of ["0", "1", "2", "3"]) nc.publish("ticks", text);
  await until(() => all.length === 4);
  assert.deepEqual(limited, ["0", "1"]);
});

for (const noMux of [false, true]) {
  onEach(TRANSPORTS, `requests get their own reply, noMux ${noMux}`, async (bench) => {
    const server = await bench.serve();
    const service = await bench.connect(server);
    const caller = await bench.connect(server);
    service.nc.subscribe("double", { callback: (_, message) => message.respond(`${2 * message.string()}`) });
    await service.nc.flush();

    const numbers = Array.from({ length: 50 }, (_, number) => number);
    const replies = await Promise.all(numbers.map((number) => request(caller.nc, "double", `${number}`, { noMux })));
    assert.deepEqual(replies.map((reply) => +reply.string()), numbers.map((number) => 2 * number));
  });
}

onEach(TRANSPORTS, "one request gathers many replies", async (bench) => {
  const server = await bench.serve();
  const service = await bench.connect(server);
  const caller = await bench.connect(server);
  for (const name of ["a", "b", "c"]) {
    service.nc.subscribe("who", { callback: (_, message) => message.respond(name) });
  }
  await service.nc.flush();
  const names = [];
  for await (const reply of await caller.nc.requestMany("who", "", { strategy: "count", maxMessages: 3, maxWait: LIMIT_MS })) {
    names.push(reply.string());
  }
  assert.deepEqual(names.sort(), ["a", "b", "c"]);
});

onEach(TRANSPORTS, "a request nobody serves fails at once", async (bench) => {
  const { nc } = await bench.connect(await bench.serve());
  await assert.rejects(request(nc, "nobody"), (error) => error.isNoResponders());
});

onEach(TRANSPORTS, "headers arrive as sent", async (bench) => {
  const { nc } = await bench.connect(await bench.serve());
  const sent = headers();
  sent.append("Many", "one");
  sent.append("Many", "two");
  sent.set("lower-case", "kept");
  sent.set("Spaced", "a b:c");
  const subscription = nc.subscribe("headed", { max: 2 });
  nc.publish("headed", "body", { headers: sent });
  nc.publish("headed", "", { headers: sent });

  const bodies = [];
  for await (const message of subscription) {
    bodies.push(message.string());
    assert.deepEqual(message.headers.values("Many"), ["one", "two"]);
    assert.equal(message.headers.get("lower-case"), "kept");
    assert.equal(message.headers.get("Spaced"), "a b:c");
  }
  assert.deepEqual(bodies, ["body", ""]);
});

for (const options of [{ verbose: true }, { pedantic: true }]) {
  onEach(TRANSPORTS, `a client with ${JSON.stringify(options)}`, async (bench) => {
    const { nc, statuses } = await bench.connect(await bench.serve(), options);
    const seen = collect(nc, "modes");
    nc.publish("modes", "fine");
    await until(() => seen.length === 1);
    assert.deepEqual([seen, statuses], [["fine"], []]);
  });
}
