'use strict';
// What really happened, written beside: the measure that others' reports are held to.
const fs = require('fs');

const KEPT_DURATIONS = 10_000;

class Truth {
  constructor(path, seed) {
    this.path = path;
    this.seed = seed;
    this.port = null;
    this.drawn = {};
    this.blocks = [];
    this.routes = {};
    this.logLines = 0;
    this.heap = { rate_bytes_per_second: 0, held_bytes: 0 };
  }

  start() {
    if (this.path) setInterval(() => this.write(), 500).unref();
    this.write();
  }

  blocked(start, duration) {
    this.blocks.push({ start, duration });
  }

  /** One request: `status` 0 when the client went away. Durations are seconds. */
  served(method, route, status, duration) {
    const key = `${method} ${route}`;
    const one = (this.routes[key] ||= { requests: 0, errors: 0, aborted: 0, durations: [] });
    one.requests++;
    if (status >= 500) one.errors++;
    if (status === 0) one.aborted++;
    if (one.durations.length < KEPT_DURATIONS) one.durations.push(Math.round(duration * 1e6) / 1e6);
  }

  write() {
    if (!this.path) return;
    const { seed, port, drawn, blocks, routes, logLines, heap } = this;
    const truth = {
      seed, runtime: 'node', pid: process.pid, port, drawn, blocks, routes,
      log_lines: logLines, heap,
    };
    fs.writeFileSync(`${this.path}.new`, JSON.stringify(truth));
    fs.renameSync(`${this.path}.new`, this.path);
  }
}

module.exports = { Truth };
