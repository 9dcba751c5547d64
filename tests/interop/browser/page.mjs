// What the page makes available to the tests: nats.js, and a line of text for each message.

import * as nats from "@nats-io/nats-core";

window.nats = nats;

window.show = (text) => {
  document.getElementById("log").append(`${text}\n`);
};

// Opens the connection that the test goes on with, and notes its statuses.
window.open_connection = async (servers, options = {}) => {
  window.nc = await nats.wsconnect({
    servers,
    noRandomize: true,
    reconnectTimeWait: 50,
    reconnectJitter: 0,
    maxReconnectAttempts: 200,
    ...options,
  });
  window.statuses = [];
  (async () => {
    for await (const { type, error } of window.nc.status()) {
      window.statuses.push(error ? `${type}: ${error.message}` : type);
      window.show(window.statuses.at(-1));
    }
  })();
  window.show(`connected to ${window.nc.getServer()}`);
};

// Subscribes, and collects what arrives under `window.seen[subject]`.
window.seen = {};
window.collect = async (subject, options = {}) => {
  const texts = window.seen[subject] = [];
  window.nc.subscribe(subject, {
    ...options,
    callback: (_, message) => {
      texts.push(message.string());
      window.show(`${message.subject}: ${message.string().slice(0, 80)}`);
    },
  });
  await window.nc.flush();
};
