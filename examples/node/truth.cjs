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
    this.ended = false;
    this.heap = { rate_bytes_per_second: 0, held_bytes: 0 };
  }

  start() {
    this.write();
    if (this.path) this.writeLater();
  }

  /** Written off the loop: a slow disk would block it, and that would be in no truth file. */
  writeLater() {
    setTimeout(async () => {
      await fs.promises.writeFile(`${this.path}.new`, this.text());
      if (!this.ended) await fs.promises.rename(`${this.path}.new`, this.path);
      if (!this.ended) this.writeLater();
    }, 500).unref();
  }

  /** The last word; whatever is still being written gives way to it. */
  end() {
    this.ended = true;
    this.write();
  }

  /** A block of the loop, and how long the turn took that it was a part of; seconds. */
  blocked(start, duration, turn) {
    this.blocks.push({ start, duration, turn });
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

  text() {
    const { seed, port, drawn, blocks, routes, logLines, heap } = this;
    return JSON.stringify({
      seed, runtime: 'node', pid: process.pid, port, drawn, blocks, routes,
      log_lines: logLines, heap,
    });
  }

  write() {
    if (!this.path) return;
    fs.writeFileSync(`${this.path}.last`, this.text());
    fs.renameSync(`${this.path}.last`, this.path);
  }
}

module.exports = { Truth };
