'use strict';
// The fine scale that the agent uses too (tickbird/histogram.py): one file of edges for all.
const BOUNDS = Float64Array.from(require('../bounds.json'));

/** Index of the first edge that is not below `seconds`; BOUNDS.length is the overflow. */
function indexOf(seconds) {
  let low = 0;
  let high = BOUNDS.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (BOUNDS[middle] < seconds) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Seconds with nanosecond digits: shorter in JSON, and finer than any clock here. */
const trim = (seconds) => Math.round(seconds * 1e9) / 1e9;

/** Count, sum, extremes and a sparse histogram of durations in seconds. */
class Spread {
  constructor() {
    this.count = 0;
    this.sum = 0;
    this.min = Infinity;
    this.max = 0;
    this.hist = {};
  }

  add(seconds) {
    this.count++;
    this.sum += seconds;
    if (seconds < this.min) this.min = seconds;
    if (seconds > this.max) this.max = seconds;
    this.tally(seconds, 1);
  }

  tally(seconds, times) {
    const index = indexOf(seconds);
    this.hist[index] = (this.hist[index] || 0) + times;
  }
}

module.exports = { BOUNDS, Spread, indexOf, trim };
