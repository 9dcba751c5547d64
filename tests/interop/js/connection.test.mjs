// Drain, reconnect, limits and lame duck: the life of a connection.

import assert from "node:assert/strict";
import { cert, collect, onEach, request, TRANSPORTS, until, within } from "./harness.mjs";

onEach(TRANSPORTS, "draining a subscription hands over what is pending", async (bench) => {
  const server = await bench.serve();
  const { nc } = await bench.connect(server);
  const publisher = await bench.connect(server);
  const observed = collect(publisher.nc, "work");
  const subscription = nc.subscribe("work");
  await nc.flush();
  const numbers = Array.from({ length: 100 }, (_, number) => `${number}`);
  for (const number of numbers) publisher.nc.publish("work", number);
  await until(() => observed.length === 100);

  const drained = subscription.drain();
  const handled = [];
  for await (const message of subscription) handled.push(message.string());
  await within(drained, "drained");
  publisher.nc.publish("work", "too late");
  await publisher.nc.flush();
  await nc.flush();
  assert.deepEqual(handled, numbers);
});

onEach(TRANSPORTS, "draining a connection closes it cleanly", async (bench) => {
  const server = await bench.serve();
  const { nc } = await bench.connect(server);
  const other = await bench.connect(server);
  nc.subscribe("last", { callback: (_, message) => message.respond("done") });
  await nc.flush();
  assert.equal((await request(other.nc, "last")).string(), "done");

  const late = collect(other.nc, "after");
  await other.nc.flush();
  nc.publish("after", "sent before the close");
  await nc.drain();
  assert.equal(await within(nc.closed(), "closed"), undefined);
  await until(() => late.length === 1);
  await assert.rejects(request(other.nc, "last"), (error) => error.isNoResponders());
});

onEach(TRANSPORTS, "subscriptions survive a restart of the server", async (bench) => {
  const server = await bench.serve();
  const client = await bench.connect(server);
  const seen = [collect(client.nc, "news.*"), collect(client.nc, "news.*", { queue: "readers" })];
  client.nc.publish("news.before", "before");
  await until(() => seen.every((texts) => texts.length === 1));

  await server.restart();
  await client.saw("disconnect");
  await client.saw("reconnect");
  client.nc.publish("news.after", "after");
  await until(() => seen.every((texts) => texts.length === 2));
  assert.deepEqual(seen, [["before", "after"], ["before", "after"]]);
});

onEach(TRANSPORTS, "the client refuses more than max_payload", async (bench) => {
  const { nc } = await bench.connect(await bench.serve("small_payload"));
  assert.equal(nc.info.max_payload, 1024);
  assert.throws(() => nc.publish("size", new Uint8Array(1025)), /max_payload/);
  const seen = collect(nc, "size");
  nc.publish("size", new Uint8Array(1024));
  await until(() => seen.length === 1);
});

onEach(TRANSPORTS, "the server disconnects a client that sends more than max_payload", async (bench) => {
  const client = await bench.connect(await bench.serve("small_payload"));
  client.nc.protocol.info.max_payload = 1 << 20; // a client that does not check
  client.nc.publish("size", new Uint8Array(1025));
  await client.saw("disconnect");
  await client.saw("reconnect");
});

onEach(TRANSPORTS, "lame duck moves clients to another server", async (bench) => {
  const leaving = await bench.serve("lame_duck");
  const staying = await bench.serve();
  const client = await bench.connect([leaving, staying]);
  const seen = collect(client.nc, "still.here");
  await client.nc.flush();

  leaving.signal("SIGUSR2");
  await client.saw("ldm");
  await client.saw("reconnect");
  assert.equal(client.nc.getServer().split(":").at(-1), staying.url.split(":").at(-1));
  client.nc.publish("still.here", "moved");
  await until(() => seen.length === 1);
  assert.equal(await leaving.exitCode(), 0);
});

onEach(["tcp", "ws"], "a server in lame duck takes nobody new", async (bench) => {
  const server = await bench.serve("lame_duck");
  const client = await bench.connect(server, { reconnect: false });
  server.signal("SIGUSR2");
  await client.saw("ldm");
  await assert.rejects(bench.connect(server));
  await within(client.nc.closed(), "closed");
  assert.equal(await server.exitCode(), 0);
});

onEach(["tls", "tls_first", "wss"], "TLS with an unknown authority fails", async (bench) => {
  const server = await bench.serve();
  await assert.rejects(bench.connect(server, { tls: { ca: cert("client.pem") } }));
  await (await bench.connect(server)).nc.flush();
});

onEach(["mtls"], "a client certificate names the user", async (bench) => {
  const server = await bench.serve();
  const { nc } = await bench.connect(server, { tls: { cert: cert("client.pem"), key: cert("client.key") } });
  await nc.flush();
  await assert.rejects(bench.connect(server, { timeout: 2000 }));
});
