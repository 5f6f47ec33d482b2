'use strict';
// The faults of this run: what, where and how much, all drawn from one seed.
const { createHash } = require('crypto');
const { performance } = require('perf_hooks');

const ROUTES = ['/cart', '/checkout', '/search', '/items/:id', '/login'];
const HEAP_CAP = 200_000_000;
const HEAP_TICKS_PER_SECOND = 10;

/** Repeatable numbers 0..1 (mulberry32); the runtime's name makes the two samples differ. */
function generator(seed) {
  let state = createHash('sha256').update(`${seed}:node`).digest().readUInt32LE(0);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

class Faults {
  constructor(seed, truth) {
    this.random = generator(seed);
    this.truth = truth;
    const failing = Math.floor(this.random() * ROUTES.length);
    const slow = (failing + 1 + Math.floor(this.random() * (ROUTES.length - 1))) % ROUTES.length;
    this.drawn = {
      fail: { route: ROUTES[failing], ratio: this.between(0.03, 0.15) },
      slow: { route: ROUTES[slow], seconds: this.between(0.25, 0.9), jitter: 0.1 },
      block: { seconds: [0.15, 0.4], every: [2, 5], function: this.block.name },
      leak: { bytes_per_second: this.between(1e6, 4e6), cap_bytes: HEAP_CAP },
    };
    this.held = [];
  }

  between(low, high) {
    return low + this.random() * (high - low);
  }

  start() {
    this.nextBlock();
    setInterval(() => this.leak(), 1000 / HEAP_TICKS_PER_SECOND).unref();
  }

  fails(route) {
    return route === this.drawn.fail.route && this.random() < this.drawn.fail.ratio;
  }

  /** Seconds that a request to `route` takes: a few milliseconds, unless it is the slow one. */
  delay(route) {
    const { route: slow, seconds, jitter } = this.drawn.slow;
    if (route !== slow) return this.between(0.001, 0.01);
    return seconds * this.between(1 - jitter, 1 + jitter);
  }

  nextBlock() {
    const [soonest, latest] = this.drawn.block.every;
    setTimeout(() => this.block(), this.between(soonest, latest) * 1000).unref();
  }

  block() {
    const [shortest, longest] = this.drawn.block.seconds;
    const duration = this.between(shortest, longest) * 1000;
    const start = Date.now() / 1000;
    const began = performance.now();
    while (performance.now() - began < duration);
    const blocked = (performance.now() - began) / 1000;
    setImmediate(() => this.truth.blocked(start, blocked, (performance.now() - began) / 1000));
    this.nextBlock();
  }

  leak() {
    const { bytes_per_second: rate, cap_bytes: cap } = this.drawn.leak;
    if (this.truth.heap.held_bytes >= cap) return;
    const numbers = Math.round(rate / HEAP_TICKS_PER_SECOND / 8);
    this.held.push(new Array(numbers).fill(0.5));
    this.truth.heap.held_bytes += numbers * 8;
  }
}

module.exports = { Faults, ROUTES };
