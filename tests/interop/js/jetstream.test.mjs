// JetStream as nats.js uses it: streams, consumers of all kinds, key-value, object store, services.

import assert from "node:assert/strict";
import { AckPolicy, DeliverPolicy, jetstream, jetstreamManager, RetentionPolicy } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { Objm } from "@nats-io/obj";
import { Svcm } from "@nats-io/services";
import { headers, nanos } from "@nats-io/transport-node";
import { onEach, until } from "./harness.mjs";

// A test of JetStream on a server of its own.
function tour(name, body) {
  onEach(["tcp"], name, async (bench) => {
    const server = await bench.serve("jetstream");
    const { nc } = await bench.connect(server);
    const jsm = await jetstreamManager(nc);
    await body({ bench, server, nc, jsm, js: jsm.jetstream() });
  });
}

async function taken(messages, count = Infinity) {
  const all = [];
  for await (const message of messages) {
    all.push(message);
    if (all.length >= count) break;
  }
  return all;
}
const texts = (messages) => messages.map((message) => message.string());

tour("a stream keeps what was published", async ({ jsm, js }) => {
  const info = await jsm.streams.add({ name: "KEEP", subjects: ["keep.>"], allow_direct: true });
  assert.equal(info.state.messages, 0);
  for (let n = 1; n <= 5; n++) assert.equal((await js.publish(`keep.${n}`, `${n}`)).seq, n);
  assert.equal((await jsm.streams.getMessage("KEEP", { seq: 3 })).string(), "3");
  assert.equal((await jsm.direct.getMessage("KEEP", { last_by_subj: "keep.4" })).seq, 4);
  const batch = await taken(await jsm.direct.getBatch("KEEP", { seq: 2, batch: 3 }));
  assert.deepEqual(texts(batch), ["2", "3", "4"]);
  const last = await taken(await jsm.direct.getLastMessagesFor("KEEP", { multi_last: ["keep.1", "keep.5"] }));
  assert.deepEqual(texts(last), ["1", "5"]);
  await jsm.streams.deleteMessage("KEEP", 2);
  assert.deepEqual((await jsm.streams.info("KEEP", { deleted_details: true })).state.deleted, [2]);
  assert.equal((await jsm.streams.purge("KEEP", { filter: "keep.1" })).purged, 1);
  assert.equal((await jsm.streams.purge("KEEP", { keep: 1 })).purged, 2);
  await jsm.streams.update("KEEP", { max_msgs: 10 });
  assert.deepEqual(await jsm.streams.names().next(), ["KEEP"]);
  assert.equal((await jsm.getAccountInfo()).streams, 1);
  await jsm.streams.delete("KEEP");
  await assert.rejects(() => jsm.streams.info("KEEP"), /stream not found/);
});

tour("expectations and message ids", async ({ jsm, js }) => {
  await jsm.streams.add({ name: "ONCE", subjects: ["once.>"] });
  await js.publish("once.a", "1", { msgID: "a" });
  assert.equal((await js.publish("once.a", "2", { msgID: "a" })).duplicate, true);
  await js.publish("once.b", "x", { expect: { lastMsgID: "a", lastSequence: 1, streamName: "ONCE" } });
  await assert.rejects(() => js.publish("once.b", "x", { expect: { lastSequence: 1 } }), /wrong last sequence: 2/);
  await assert.rejects(() => js.publish("once.b", "x", { expect: { lastSubjectSequence: 1 } }), /wrong last sequence: 2/);
  await assert.rejects(() => js.publish("once.b", "x", { expect: { streamName: "OTHER" } }), /does not match/);
});

tour("an atomic batch is stored as one", async ({ jsm, js }) => {
  await jsm.streams.add({ name: "BATCH", subjects: ["batch.>"], allow_atomic: true });
  const batch = await js.startBatch("batch.a", "1");
  batch.add("batch.b", "2");
  assert.equal((await jsm.streams.info("BATCH")).state.messages, 0);
  const ack = await batch.commit("batch.c", "3");
  assert.deepEqual([ack.seq, ack.count], [3, 3]);
});

tour("a pull consumer delivers again what was refused", async ({ jsm, js }) => {
  await jsm.streams.add({ name: "PULL", subjects: ["pull"] });
  await jsm.consumers.add("PULL", { durable_name: "worker", ack_policy: AckPolicy.Explicit, max_deliver: 3 });
  for (const text of ["1", "2", "3", "4"]) await js.publish("pull", text);
  const consumer = await js.consumers.get("PULL", "worker");
  const [one, two, three, four] = await taken(await consumer.fetch({ max_messages: 4, expires: 2000 }));
  assert.equal(await one.ackAck(), true);
  two.nak();
  three.term("no good");
  four.working();
  const [again] = await taken(await consumer.fetch({ max_messages: 1, expires: 2000 }));
  assert.deepEqual([again.string(), again.info.deliveryCount, again.redelivered], ["2", 2, true]);
  again.nak(100);
  const later = await consumer.next({ expires: 5000 });
  assert.deepEqual([later.seq, later.info.deliveryCount], [2, 3]);
  await later.ackAck();
  await four.ackAck();
  const info = await consumer.info();
  assert.deepEqual([info.num_ack_pending, info.num_pending, info.ack_floor.stream_seq], [0, 0, 4]);
});

tour("consume, with callbacks, in order and by bytes", async ({ jsm, js }) => {
  await jsm.streams.add({ name: "FLOW", subjects: ["flow.>"] });
  const expected = Array.from({ length: 300 }, (_, n) => `${n}`);
  for (const text of expected) await js.publish(`flow.${text % 2}`, text);
  await jsm.consumers.add("FLOW", { durable_name: "all", ack_policy: AckPolicy.Explicit });
  const all = await js.consumers.get("FLOW", "all");
  const seen = [];
  const messages = await all.consume({
    max_messages: 50,
    callback: (message) => (message.ack(), seen.push(message.string())),
  });
  await until(() => seen.length === 300, () => `${seen.length}`);
  await messages.close();
  assert.deepEqual(seen, expected);
  const ordered = await js.consumers.get("FLOW", { filter_subjects: ["flow.1"] });
  const odd = await taken(await ordered.consume(), 150);
  assert.deepEqual(texts(odd), expected.filter((text) => text % 2 === 1));
  const bytes = await js.consumers.get("FLOW", { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: 299 });
  assert.deepEqual(texts(await taken(await bytes.fetch({ max_bytes: 4096, expires: 1000 }))), ["298", "299"]);
});

tour("push consumers and ordered push consumers", async ({ jsm, js, nc }) => {
  await jsm.streams.add({ name: "PUSH", subjects: ["push"] });
  for (let n = 0; n < 50; n++) await js.publish("push", `${n}`);
  await jsm.consumers.add("PUSH", {
    durable_name: "listener",
    deliver_subject: "deliver.here",
    ack_policy: AckPolicy.Explicit,
    idle_heartbeat: nanos(1000),
    flow_control: true,
  });
  const consumer = await js.consumers.getPushConsumer("PUSH", "listener");
  const seen = [];
  const messages = await consumer.consume({ callback: (message) => (message.ack(), seen.push(message.seq)) });
  await until(() => seen.length === 50);
  await messages.close();
  const ordered = await js.consumers.getPushConsumer("PUSH", { deliver_policy: DeliverPolicy.All });
  assert.equal((await taken(await ordered.consume(), 50)).at(-1).seq, 50);
  await nc.flush();
});

tour("pause, resume, reset, pinned clients", async ({ jsm, js }) => {
  await jsm.streams.add({ name: "CARE", subjects: ["care"] });
  await jsm.consumers.add("CARE", { durable_name: "c", ack_policy: AckPolicy.Explicit });
  await js.publish("care", "1");
  assert.equal((await jsm.consumers.pause("CARE", "c", new Date(Date.now() + 60_000))).paused, true);
  const consumer = await js.consumers.get("CARE", "c");
  assert.equal(await consumer.next({ expires: 1000 }), null);
  assert.equal((await jsm.consumers.resume("CARE", "c")).paused, false);
  const message = await consumer.next({ expires: 5000 });
  await message.ackAck();
  assert.equal((await jsm.consumers.reset("CARE", "c", 1)).reset_seq, 1);
  assert.equal((await consumer.next({ expires: 5000 })).seq, 1);
  await jsm.consumers.add("CARE", {
    durable_name: "pinned",
    ack_policy: AckPolicy.Explicit,
    priority_policy: "pinned_client",
    priority_groups: ["main"],
    priority_timeout: nanos(60_000),
  });
  const pinned = await js.consumers.get("CARE", "pinned");
  const first = await pinned.consume({ group: "main", max_messages: 5, expires: 5000 });
  const [got] = await taken(first, 1);
  assert.ok(got.headers.get("Nats-Pin-Id"));
  const [group] = (await pinned.info()).priority_groups;
  assert.ok(group.pinned_client_id);
  await jsm.consumers.unpin("CARE", "pinned", "main");
});

tour("work queues, interest, mirrors and sources", async ({ jsm, js }) => {
  await jsm.streams.add({ name: "WORK", subjects: ["work"], retention: RetentionPolicy.Workqueue });
  await jsm.consumers.add("WORK", { durable_name: "w", ack_policy: AckPolicy.Explicit });
  await js.publish("work", "1");
  await (await (await js.consumers.get("WORK", "w")).next({ expires: 5000 })).ackAck();
  assert.equal((await jsm.streams.info("WORK")).state.messages, 0);
  await jsm.streams.add({ name: "ORIGIN", subjects: ["origin.>"] });
  await js.publish("origin.a", "a");
  await js.publish("origin.b", "b");
  await jsm.streams.add({ name: "MIRROR", mirror: { name: "ORIGIN" }, mirror_direct: true });
  await jsm.streams.add({
    name: "SOURCED",
    sources: [{ name: "ORIGIN", subject_transforms: [{ src: "origin.*", dest: "moved.{{wildcard(1)}}" }] }],
  });
  const has = async (name, count) => {
    for (;;) {
      const { state } = await jsm.streams.info(name);
      if (state.messages === count) return state;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  await has("MIRROR", 2);
  await has("SOURCED", 2);
  const moved = await jsm.streams.getMessage("SOURCED", { last_by_subj: "moved.b" });
  assert.match(moved.header.get("Nats-Stream-Source"), /^ORIGIN/);
});

tour("times to live and schedules", async ({ jsm, js }) => {
  await jsm.streams.add({
    name: "TIME",
    subjects: ["time.>"],
    allow_msg_ttl: true,
    allow_msg_schedules: true,
    subject_delete_marker_ttl: nanos(1000),
  });
  await js.publish("time.short", "x", { ttl: "1s" });
  const block = headers();
  block.set("Nats-Schedule", `@at ${new Date(Date.now() + 1000).toISOString()}`);
  block.set("Nats-Schedule-Target", "time.fired");
  await js.publish("time.plan", "later", { headers: block });
  const fired = async (subject) => {
    for (;;) {
      const found = await jsm.streams.getMessage("TIME", { last_by_subj: subject }).catch(() => null);
      if (found && (subject !== "time.short" || found.header.get("Nats-Marker-Reason"))) return found;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  assert.equal((await fired("time.fired")).string(), "later");
  assert.equal((await fired("time.short")).header.get("Nats-Marker-Reason"), "MaxAge");
});

tour("key-value", async ({ js }) => {
  const kv = await new Kvm(js).create("config", { history: 5, markerTTL: 1000 });
  const changes = [];
  const watcher = await kv.watch();
  (async () => {
    for await (const entry of watcher) changes.push([entry.key, entry.operation, entry.string()]);
  })();
  const revision = await kv.put("a.b", "one");
  assert.equal((await kv.get("a.b")).string(), "one");
  await kv.update("a.b", "two", revision);
  await assert.rejects(() => kv.update("a.b", "three", revision), /wrong last sequence/);
  await assert.rejects(() => kv.create("a.b", "new"), /wrong last sequence/);
  await kv.create("c", "x");
  assert.deepEqual((await taken(await kv.keys())).sort(), ["a.b", "c"]);
  const history = await taken(await kv.history({ key: "a.b" }));
  assert.deepEqual(history.map((entry) => entry.string()), ["one", "two"]);
  await kv.delete("c");
  await kv.purge("a.b");
  assert.equal((await kv.get("c")).operation, "DEL");
  await until(() => changes.length === 5, () => JSON.stringify(changes));
  assert.deepEqual(changes.map(([key, operation]) => `${operation} ${key}`), [
    "PUT a.b", "PUT a.b", "PUT c", "DEL c", "PURGE a.b",
  ]);
  await kv.create("short", "lived", "1s");
  await until(() => changes.some(([key, operation]) => key === "short" && operation !== "PUT"));
  const status = await kv.status();
  assert.deepEqual([status.bucket, status.history], ["config", 5]);
  await kv.purgeDeletes(0);
  await kv.destroy();
});

tour("object store", async ({ js }) => {
  const store = await new Objm(js).create("files", { description: "test" });
  const content = Uint8Array.from({ length: 512_000 }, (_, n) => n);
  const info = await store.putBlob({ name: "report" }, content);
  assert.deepEqual([info.size, info.chunks], [512_000, 4]);
  assert.equal(Buffer.compare(await store.getBlob("report"), content), 0);
  await store.putBlob({ name: "empty" }, new Uint8Array(0));
  await store.link("alias", await store.info("report"));
  assert.equal((await store.getBlob("alias")).length, 512_000);
  assert.deepEqual((await store.list()).map((entry) => entry.name).sort(), ["alias", "empty", "report"]);
  await store.update("report", { name: "renamed" });
  await store.delete("renamed");
  assert.equal((await store.info("renamed")).deleted, true);
  await store.seal();
  assert.equal((await store.status()).sealed, true);
});

tour("services are found and asked", async ({ bench, server, nc }) => {
  const service = await new Svcm(nc).add({ name: "echo", version: "1.2.3", description: "says it again" });
  const group = service.addGroup("say");
  group.addEndpoint("again", { handler: (error, message) => error ? undefined : message.respond(message.data) });
  const { nc: other } = await bench.connect(server);
  const reply = await other.request("say.again", "hello", { timeout: 5000 });
  assert.equal(reply.string(), "hello");
  const client = new Svcm(other).client();
  const [info] = await taken(await client.info("echo"));
  assert.deepEqual(info.endpoints.map((endpoint) => endpoint.subject), ["say.again"]);
  const [stats] = await taken(await client.stats("echo"));
  assert.equal(stats.endpoints[0].num_requests, 1);
  assert.equal((await taken(await client.ping("echo"))).length, 1);
  await service.stop();
});

tour("everything is there after a restart", async ({ bench, server, jsm, js }) => {
  await jsm.streams.add({ name: "STAY", subjects: ["stay"] });
  await jsm.consumers.add("STAY", { durable_name: "worker", ack_policy: AckPolicy.Explicit });
  for (let n = 0; n < 10; n++) await js.publish("stay", `${n}`);
  const consumer = await js.consumers.get("STAY", "worker");
  for (const message of await taken(await consumer.fetch({ max_messages: 4, expires: 2000 }))) await message.ackAck();
  await server.restart();
  const { nc } = await bench.connect(server);
  const again = await jetstream(nc).consumers.get("STAY", "worker");
  const info = await again.info();
  assert.deepEqual([info.num_pending, info.ack_floor.stream_seq], [6, 4]);
  const rest = await taken(await again.fetch({ max_messages: 6, expires: 2000 }));
  assert.deepEqual(texts(rest), ["4", "5", "6", "7", "8", "9"]);
});
