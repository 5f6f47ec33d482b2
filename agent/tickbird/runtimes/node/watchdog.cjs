'use strict';
// The service's side of the watchdog: it starts the thread that watches, and gives it a sign of
// life from the loop. The thread is in culprit.cjs.
const inspector = require('inspector');
const path = require('path');
const { Worker } = require('worker_threads');

/** Seconds after which the thread starts: a tool that ends at once does without. */
const SETTLED = 0.2;
/** Milliseconds that the end of the process waits for a question under way to be taken back. */
const LET_GO = 300;
/** Flags that both threads see. */
const ASKING = 0;
const LEAVING = 1;
const DEBUGGED = 2;

class Watchdog {
  /** `said` goes with the thread's datagrams; `threshold` and `interval` are seconds. */
  constructor(port, said, threshold, interval) {
    const shared = new SharedArrayBuffer(24);
    this.last = new BigInt64Array(shared, 0, 1);
    this.flags = new Int32Array(shared, 8, 3);
    this.beat();
    const given = { port, said, threshold, interval, shared };
    this.starting = setTimeout(() => this.start(given), SETTLED * 1000).unref();
  }

  start(workerData) {
    try {
      // Injected, this is no file: then the thread gets the text of all of them.
      const text = require.textFor && require.textFor('./culprit.cjs');
      this.thread = new Worker(text || path.join(__dirname, 'culprit.cjs'), {
        eval: text !== undefined,
        workerData,
        // Its own: neither a --require of NODE_OPTIONS nor the service's settings.
        env: {},
        execArgv: [],
        stdout: true,
        stderr: true,
        resourceLimits: { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 2 },
      });
      this.thread.on('error', () => {});
      this.thread.unref();
    } catch {
      // --permission forbids threads; stalls are measured all the same.
    }
  }

  /** Called by the loop's timer every `interval`. */
  beat() {
    Atomics.store(this.last, 0, process.hrtime.bigint());
    // A debugger's pause is its user's business.
    Atomics.store(this.flags, DEBUGGED, inspector.url() === undefined ? 0 : 1);
  }

  /** Called when the process ends: Node would wait for an open question, and say so aloud. */
  leave() {
    Atomics.store(this.flags, LEAVING, 1);
    if (Atomics.load(this.flags, ASKING)) Atomics.wait(this.flags, ASKING, 1, LET_GO);
  }

  /** Ends the thread; the service goes on. */
  stop() {
    clearTimeout(this.starting);
    this.leave();
    if (this.thread) this.thread.terminate().catch(() => {});
  }
}

module.exports = { ASKING, DEBUGGED, LEAVING, Watchdog };
