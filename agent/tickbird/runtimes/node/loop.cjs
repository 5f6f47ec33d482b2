'use strict';
// How long the iterations of this thread's event loop take. Times are seconds.
const { monitorEventLoopDelay, performance } = require('perf_hooks');
const { Spread, trim } = require('./fine.cjs');

const WINDOW = 1;
const seconds = () => performance.now() / 1000;
const unix = () => Date.now() / 1000;

/** The window under way, and the time that the loop spent in callbacks and in the poll call. */
class Window {
  constructor() {
    this.start = seconds();
    this.utilization = performance.eventLoopUtilization();
    this.spread = new Spread();
    this.stalls = [];
  }

  stalled(duration) {
    this.stalls.push({ start: trim(unix() - duration), duration: trim(duration) });
  }

  /** The window as the protocol has it. `count` and `sum` are of iterations, where known. */
  report(error, count = this.spread.count, sum = this.spread.sum) {
    const duration = seconds() - this.start;
    const spent = performance.eventLoopUtilization(this.utilization);
    const mean = count ? sum / count : 0;
    return {
      start: trim(unix() - duration),
      duration: trim(duration),
      loop: {
        error,
        count,
        sum: trim(sum),
        min: trim(Math.min(this.spread.min, mean)),
        max: trim(this.spread.max),
        hist: this.spread.hist,
        active: trim(spent.active / 1000),
        idle: trim(spent.idle / 1000),
      },
      stalls: this.stalls,
    };
  }
}

/**
 * Every iteration, measured by Node itself (v24.21, v26 and later). The histogram has no times,
 * so a slow timer finds when a stall was; the histogram says how long.
 */
class ExactLoop {
  constructor(threshold) {
    this.threshold = threshold;
    this.interval = Math.min(0.03, threshold / 2);
    this.histogram = monitorEventLoopDelay({ samplePerIteration: true });
    this.histogram.enable();
    this.window = new Window();
    this.last = seconds();
  }

  /** Called by a timer every `interval`; hands a finished window to `done`. */
  tick(done) {
    const now = seconds();
    const gap = now - this.last;
    this.last = now;
    const ends = now - this.window.start >= WINDOW;
    if (gap < this.threshold && !ends) return;
    // The iteration that this timer runs in is recorded when it has passed the timers phase.
    setImmediate(() => {
      this.harvest();
      if (ends) done(this.take());
    });
  }

  harvest() {
    const { count, max, mean, min, percentiles } = this.histogram;
    if (count === 0) return;
    const spread = this.window.spread;
    spread.count += count;
    spread.sum += (mean * count) / 1e9;
    spread.min = Math.min(spread.min, min / 1e9);
    spread.max = Math.max(spread.max, max / 1e9);
    let seen = 0;
    for (const [percentile, value] of percentiles) {
      const upTo = Math.round((Math.min(percentile, 100) / 100) * count);
      if (upTo > seen) spread.tally(value / 1e9, upTo - seen);
      seen = Math.max(seen, upTo);
    }
    this.histogram.reset();
    if (max / 1e9 >= this.threshold) this.window.stalled(max / 1e9);
  }

  take() {
    const report = this.window.report(0.002);
    this.window = new Window();
    return report;
  }

  lastWords() {
    this.harvest();
    return this.take();
  }

  close() {
    this.histogram.disable();
  }
}

/**
 * Older versions: a timer of 20 ms finds that an iteration was long, and the time the loop was
 * active since the timer's last turn says how long it was. The histogram holds the longest
 * iteration of each turn; iterations between two turns are counted by libuv, not looked at.
 */
class TimedLoop {
  constructor(threshold) {
    this.threshold = threshold;
    this.interval = 0.02;
    this.typical = 0;
    this.last = seconds();
    this.lastActive = performance.eventLoopUtilization().active / 1000;
    this.lastLoops = loopCount();
    this.open();
  }

  open() {
    this.window = new Window();
    this.firstLoop = this.lastLoops;
    this.active = 0;
  }

  tick(done) {
    this.look();
    if (this.last - this.window.start >= WINDOW) done(this.take());
  }

  look() {
    const now = seconds();
    const gap = now - this.last;
    this.last = now;
    const active = performance.eventLoopUtilization().active / 1000;
    const spent = Math.max(0, active - this.lastActive);
    this.lastActive = active;
    this.active += spent;
    const loops = loopCount();
    const turns = Math.max(1, loops - this.lastLoops);
    this.lastLoops = loops;
    const longest = this.longest(gap, spent, turns);
    this.window.spread.add(longest);
    if (longest >= this.threshold) this.window.stalled(longest);
  }

  /** The longest of `turns` iterations that were active for `spent` seconds of a `gap`. */
  longest(gap, spent, turns) {
    // Timers run on whole milliseconds, so the last one of lateness says nothing.
    const late = Math.max(0, gap - this.interval - 0.001);
    const mean = spent / turns;
    const rest = (turns - 1) * this.typical;
    if (late === 0) {
      // One long iteration must not pass for the usual length of the short ones.
      this.typical += 0.05 * (Math.min(mean, 2 * this.typical + 1e-5) - this.typical);
    }
    return Math.min(gap, Math.max(spent - rest, mean, late));
  }

  take() {
    const counted = this.lastLoops - this.firstLoop;
    const report = counted
      ? this.window.report(this.interval, counted, this.active)
      : this.window.report(this.interval);
    this.open();
    return report;
  }

  lastWords() {
    this.look();
    return this.take();
  }

  close() {}
}

/** Iterations that libuv has begun (v18.19, v20.9 and later; else 0). */
function loopCount() {
  const metrics = performance.nodeTiming.uvMetricsInfo;
  return metrics ? metrics.loopCount : 0;
}

/** The best measurement that this Node offers; `threshold` is the shortest stall, seconds. */
function openLoop(threshold) {
  const exact = monitorEventLoopDelay.toString().includes('samplePerIteration');
  return exact ? new ExactLoop(threshold) : new TimedLoop(threshold);
}

module.exports = { openLoop };
