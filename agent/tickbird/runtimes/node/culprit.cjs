'use strict';
// A thread beside the service's loop. When the loop gives no sign of life for longer than a stall
// may last, it says so while the stall goes on, and asks the blocked thread once for its stack.
//
// It sends by itself: what it has said survives the service. The loop's own report, which has the
// exact length, ends the stall. Times are seconds.
const dgram = require('dgram');
const fs = require('fs');
const inspector = require('inspector');
const { fileURLToPath } = require('url');
const { workerData } = require('worker_threads');
const { ASKING, DEBUGGED, LEAVING } = require('./watchdog.cjs');

const { port, said, threshold, interval, shared } = workerData;
const last = new BigInt64Array(shared, 0, 1);
const flags = new Int32Array(shared, 8, 3);
const socket = dgram.createSocket('udp4');
socket.on('error', () => {});

/** A beat may be this old before the loop is held up for sure. */
const LIMIT = threshold + interval;
const FIRST_LOOK = 0.04;
const LOOK = 0.1;
/** Later than this, this thread did not run itself: then a silent loop proves nothing. */
const SUSPENDED = Math.max(0.05, threshold / 2);
const MAX_FRAMES = 20;
/** Share of a stall from which on something is what it was spent on. */
const MOST = 0.8;
const HALF = 0.5;

const now = () => Number(process.hrtime.bigint()) / 1e9;

/**
 * Seconds that the service's thread computed, and that it waited for a processor; or null.
 * `ready`: it ran or was in line for a processor, a wait that is counted only when it ends.
 */
function spent() {
  const thread = `/proc/self/task/${process.pid}`;
  try {
    const stat = fs.readFileSync(`${thread}/stat`, 'latin1');
    const ready = stat[stat.lastIndexOf(')') + 2] === 'R';
    const [computed, waited] = fs.readFileSync(`${thread}/schedstat`, 'latin1').split(' ');
    return { at: now(), computed: Number(computed) / 1e9, waited: Number(waited) / 1e9, ready };
  } catch {
    return null;
  }
}

/** What the time between two looks within a stall was spent on; null where it is not clear. */
function cause(before, after) {
  if (!before || !after || after.at - before.at < FIRST_LOOK / 2) return null;
  const whole = after.at - before.at;
  const computed = (after.computed - before.computed) / whole;
  const waited = (after.waited - before.waited) / whole;
  if (waited >= HALF) return 'starved';
  if (computed >= MOST || (computed + waited >= MOST && computed > waited)) return 'cpu';
  return !after.ready && computed + waited <= 1 - MOST ? 'blocking call' : null;
}

/** One stop of the service's thread, just long enough to read its stack. */
class Question {
  constructor(beat, answered) {
    this.beat = beat;
    this.answered = answered;
    this.urls = new Map();
    this.session = new inspector.Session();
    this.session.connectToMainThread();
    this.session.on('Debugger.scriptParsed', ({ params }) => {
      this.urls.set(params.scriptId, params.url);
    });
    this.session.on('Debugger.paused', ({ params }) => this.paused(params));
    this.session.post('Debugger.enable');
    this.session.post('Debugger.pause');
  }

  paused({ callFrames, hitBreakpoints, reason }) {
    const still = Atomics.load(last, 0) === this.beat;
    const ours = reason === 'other' && !(hitBreakpoints && hitBreakpoints.length);
    // At once and together, so that the service goes on without an open session.
    if (ours) this.session.post('Debugger.resume');
    this.close();
    if (still) this.answered(this.culprit(callFrames.slice(0, MAX_FRAMES)));
  }

  culprit(callFrames) {
    const frames = callFrames.map(({ functionName, location }) => ({
      function: functionName || '(anonymous)',
      file: file(this.urls.get(location.scriptId) || ''),
      line: location.lineNumber + 1,
    }));
    const own = frames.find((frame) => frame.file && !frame.file.startsWith('node:')) || frames[0];
    return own && { ...own, stack: frames.map((f) => `${f.function} ${f.file}:${f.line}`) };
  }

  close() {
    if (this.session === null) return;
    this.session.disconnect();
    this.session = null;
    Atomics.store(flags, ASKING, 0);
    Atomics.notify(flags, ASKING);
  }
}

function file(url) {
  return url.startsWith('file:') ? fileURLToPath(url) : url;
}

/** One stall, from the loop's last sign of life on. */
class Stall {
  constructor(beat) {
    this.beat = beat;
    this.began = Number(beat) / 1e9;
    this.start = Date.now() / 1000 - (now() - this.began);
    this.first = spent();
    this.looks = 0;
    this.cause = null;
    this.culprit = null;
    this.question = null;
    this.ask();
  }

  ask() {
    Atomics.store(flags, ASKING, 1);
    if (Atomics.load(flags, LEAVING)) {
      Atomics.store(flags, ASKING, 0);
      return;
    }
    this.question = new Question(this.beat, (culprit) => {
      this.culprit = culprit;
      // Answering was work of its own.
      this.first = spent();
      this.cause = null;
      this.say();
    });
  }

  look() {
    this.looks++;
    this.cause = cause(this.first, spent());
    this.say();
    return this.cause === null && this.looks < 4 ? FIRST_LOOK : LOOK;
  }

  say() {
    const duration = now() - this.began;
    const { start, cause: why, culprit } = this;
    const text = JSON.stringify({
      ...said, type: 'stall', start, duration, ongoing: true,
      cause: why || undefined, culprit: culprit || undefined,
    });
    socket.send(text, port, '127.0.0.1', () => {});
  }

  over() {
    if (this.question) this.question.close();
  }
}

let stall = null;
let due = now();

function look() {
  const beat = Atomics.load(last, 0);
  const age = now() - Number(beat) / 1e9;
  const suspended = now() - due > SUSPENDED;
  if (stall !== null && stall.beat !== beat) {
    stall.over();
    stall = null;
  }
  if (age < LIMIT) return LIMIT - age;
  if (suspended || Atomics.load(flags, DEBUGGED) || Atomics.load(flags, LEAVING)) return LOOK;
  if (stall === null) {
    stall = new Stall(beat);
    stall.say();
    return FIRST_LOOK;
  }
  return stall.look();
}

function watch() {
  let pause = LOOK;
  try {
    pause = look();
  } catch {
    // A probe never breaks its service.
  }
  due = now() + pause;
  setTimeout(watch, pause * 1000 + 1);
}

watch();
