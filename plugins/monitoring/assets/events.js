// What happened lately: connections that came and went are known to the server, everything else is seen as a
// difference between two looks.

import { shown } from "./text.js";

const KEPT = 60;
// Ways to go that nobody has to look at.
const PLAIN = ["Client Closed", "Server Shutdown", "Kicked"];

export class History {
  constructor(list) {
    Object.assign(this, { list, events: new Map(), before: null });
  }

  // `look`: what the endpoints said this time.
  note(look) {
    for (const client of look.opened) {
      this.add(`+${client.cid}`, client.start, "good", `${who(client)} connected`);
    }
    for (const client of look.closed) {
      const kind = PLAIN.includes(client.reason) ? "" : "warn";
      this.add(`-${client.cid}`, client.stop, kind, `${who(client)} left: ${client.reason}`);
    }
    if (this.before) this.compare(this.before, look);
    this.before = look;
    this.show();
  }

  compare(before, look) {
    const [then, now] = [before.varz, look.varz];
    const happened = (kind, text) => this.add(`${kind}${text}${now?.now}`, now?.now ?? new Date().toISOString(), kind, text);
    if (then && now && now.start === then.start) {
      const more = (name) => now[name] - then[name];
      if (more("slow_consumers") > 0) happened("bad", `${more("slow_consumers")} slow consumers cut`);
      if (more("stale_connections") > 0) happened("warn", `${more("stale_connections")} stale connections closed`);
      if (now.config_load_time !== then.config_load_time) happened("good", "Configuration reloaded");
      const error = now.natsd?.reload_error;
      if (error && error !== then.natsd?.reload_error) happened("bad", `Reload refused: ${error}`);
    }
    const [had, has] = [streams(before.jsz), streams(look.jsz)];
    for (const name of has) if (!had.has(name)) happened("good", `Stream ${name} made`);
    for (const name of had) if (!has.has(name)) happened("warn", `Stream ${name} gone`);
    for (const plugin of look.plugins) {
      const old = before.plugins.find(({ name }) => name === plugin.name);
      const state = ({ state, healthy }) => `${state}${healthy ? "" : ", unwell"}`;
      if (old && state(old) !== state(plugin)) {
        happened(plugin.healthy ? "good" : "bad", `Plugin ${plugin.name}: ${state(plugin)}`);
      }
    }
    if (before.healthz.status !== look.healthz.status) {
      const well = look.healthz.status === "ok";
      happened(well ? "good" : "bad", well ? "Healthy again" : look.healthz.errors?.[0]?.error ?? "Unwell");
    }
  }

  add(key, at, kind, text) {
    if (!this.events.has(key)) this.events.set(key, { atMs: Date.parse(at), kind, text });
  }

  show() {
    const newest = [...this.events].sort(([, a], [, b]) => b.atMs - a.atMs).slice(0, KEPT);
    this.events = new Map(newest);
    const rows = newest.map(([, { atMs, kind, text }]) => {
      const row = shown("li");
      row.append(shown("time", "", new Date(atMs).toLocaleTimeString([], { hour12: false })), shown("i", kind), shown("span", "", text));
      return row;
    });
    this.list.replaceChildren(...(rows.length ? rows : [shown("li", "none", "Nothing has happened yet.")]));
  }
}

function who(client) {
  const name = client.name || `cid ${client.cid}`;
  return client.account ? `${name} (${client.account})` : name;
}

function streams(jsz) {
  const named = (account) => (account.stream_detail ?? []).map((stream) => `${account.name} > ${stream.name}`);
  return new Set((jsz.account_details ?? []).flatMap(named));
}
