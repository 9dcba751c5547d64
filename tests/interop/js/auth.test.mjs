// Who may connect, and what they may do then.

import assert from "node:assert/strict";
import { createUser } from "@nats-io/nkeys";
import { nkeyAuthenticator } from "@nats-io/transport-node";
import { collect, onEach, request, TRANSPORTS, until } from "./harness.mjs";

const [key, otherKey] = [createUser(), createUser()];
const nkey = (pair) => ({ authenticator: nkeyAuthenticator(pair.getSeed()) });

const CREDENTIALS = {
  token: [{ token: "s3cret-token" }, { token: "wrong" }],
  user: [{ user: "ada", pass: "lovelace" }, { user: "ada", pass: "wrong" }],
  bcrypt: [{ user: "ada", pass: "lovelace-lovelace-lovelace" }, { user: "ada", pass: "wrong" }],
  nkey: [nkey(key), nkey(otherKey)],
};
for (const [scenario, [right, wrong]] of Object.entries(CREDENTIALS)) {
  onEach(TRANSPORTS, `right credentials pass and others do not: ${scenario}`, async (bench) => {
    const server = await bench.serve(scenario, { env: { INTEROP_NKEY: key.getPublicKey() } });
    const { nc } = await bench.connect(server, right);
    const seen = collect(nc, "in");
    nc.publish("in", "side");
    await until(() => seen.length === 1);
    for (const options of [wrong, {}]) {
      await assert.rejects(bench.connect(server, options), { name: "AuthorizationError" });
    }
  });
}

const as = (user) => ({ user, pass: "pw" });

onEach(TRANSPORTS, "a publish violation is reported and the connection goes on", async (bench) => {
  const server = await bench.serve("permissions");
  const admin = await bench.connect(server, as("admin"));
  const limited = await bench.connect(server, as("limited"));
  const seen = collect(admin.nc, ">");
  await admin.nc.flush();
  for (const subject of ["closed", "open.secret"]) {
    limited.nc.publish(subject, "no");
    await limited.violation("publish", subject);
  }
  limited.nc.publish("open.fine", "yes");
  await until(() => seen.length > 0);
  assert.deepEqual(seen, ["yes"]);
  assert.ok(limited.statuses.every(({ type }) => type === "error"));
});

const SUBSCRIPTIONS = [
  { subject: "closed", allowed: false },
  { subject: "open.secret", allowed: false },
  { subject: "jobs", allowed: false },
  { subject: "jobs", queue: "others", allowed: false },
  { subject: "open.>", allowed: true },
  { subject: "jobs", queue: "workers", allowed: true },
];
onEach(TRANSPORTS, "subscribe permissions", async (bench) => {
  const server = await bench.serve("permissions");
  const limited = await bench.connect(server, as("limited"));
  for (const { subject, queue, allowed } of SUBSCRIPTIONS) {
    limited.statuses.length = 0;
    limited.nc.subscribe(subject, { queue, callback: () => {} });
    await limited.nc.flush();
    if (allowed) assert.deepEqual(limited.statuses, []);
    else await limited.violation("subscription", subject, queue);
  }
});

onEach(TRANSPORTS, "a denied subject does not arrive through a wildcard", async (bench) => {
  const server = await bench.serve("permissions");
  const admin = await bench.connect(server, as("admin"));
  const limited = await bench.connect(server, as("limited"));
  const seen = collect(limited.nc, "open.*");
  await limited.nc.flush();
  admin.nc.publish("open.secret", "hidden");
  admin.nc.publish("open.fine", "shown");
  await until(() => seen.length > 0);
  assert.deepEqual(seen, ["shown"]);
});

onEach(TRANSPORTS, "a replier may answer once", async (bench) => {
  const server = await bench.serve("permissions");
  const admin = await bench.connect(server, as("admin"));
  const replier = await bench.connect(server, as("replier"));
  let inbox;
  replier.nc.subscribe("service", {
    callback(_, message) {
      inbox = message.reply;
      message.respond("first");
      message.respond("second");
    },
  });
  await replier.nc.flush();
  assert.equal((await request(admin.nc, "service")).string(), "first");
  await replier.violation("publish", inbox);
});

onEach(TRANSPORTS, "accounts do not see each other", async (bench) => {
  const server = await bench.serve("accounts");
  const a = await bench.connect(server, as("a"));
  const b = await bench.connect(server, as("b"));
  const anonymous = await bench.connect(server); // no_auth_user puts it into b's account
  const seen = [a, b, anonymous].map(({ nc }) => collect(nc, "shared.name"));
  for (const { nc } of [a, b, anonymous]) await nc.flush();
  a.nc.publish("shared.name", "for a");
  await a.nc.flush();
  b.nc.publish("shared.name", "for b");
  await b.nc.flush();
  await until(() => seen.every((texts) => texts.length > 0));
  assert.deepEqual(seen, [["for a"], ["for b"], ["for b"]]);
});
