'use strict';
// What a probe reports of its process over UDP on loopback, once per second: the event loop, heap,
// garbage collection, active resources and HTTP requests. Whoever starts it can have all of it
// taken back: no hook, timer, thread or listener stays.
//
// It must never break its service nor keep it alive: what can throw is caught, what can hold the
// loop open is unref'd.
const dgram = require('dgram');
const { PerformanceObserver, constants } = require('perf_hooks');
const v8 = require('v8');
const { HttpTotals } = require('./http.cjs');
const { openLoop } = require('./loop.cjs');

const MAX_DATAGRAM = 60000;
/** Reports between two looks at what changes slowly and takes longer to list. */
const SLOW = 10;
const MAX_RESOURCE_TYPES = 50;

/**
 * Begins to report; returns the function that ends it. `threshold` is the shortest stall, seconds;
 * `method` says how the probe came in; `pid` is as the agent sees it. `hear` is called with what
 * the agent answers, and with null when nobody listens any more.
 */
function start(settings) {
  const undo = [];
  const stop = () => {
    while (undo.length > 0) safe(undo.pop())();
  };
  try {
    begin(settings, undo);
  } catch (error) {
    stop();
    throw error;
  }
  return stop;
}

/** Does it; `undo` takes, in order, what takes it back. */
function begin({ port, token, method, pid, threshold, culprits, hear }, undo) {
  const said = { v: 1, token, method, pid };
  const http = new HttpTotals();
  undo.push(http.subscribe());
  const collections = {};
  undo.push(watchCollections(collections));
  const socket = dgram.createSocket('udp4');
  undo.push(() => socket.close());
  const failed = safe((error) => {
    if (hear && error && error.code === 'ECONNREFUSED') hear(null);
  });
  socket.on('error', failed);
  if (hear) socket.on('message', safe((answer) => hear(answer.toString('latin1'))));
  socket.connect(port, '127.0.0.1');
  socket.unref();

  let seq = 0;
  const resources = {};
  const send = safe(({ start: from, duration, loop: iterations, stalls }) => {
    const head = {
      ...said, runtime: 'node', version: process.versions.node, seq, start: from, duration,
    };
    const own = { loop: iterations, stalls, memory: heap(), gc: collections };
    if (seq++ % SLOW === 0) Object.assign(own, { spaces: spaces(), resources: active(resources) });
    for (const datagram of datagrams(head, own, http)) socket.send(datagram, failed);
  });
  // Loading the service's modules comes before the first turn of the loop: it is no stall.
  const first = setImmediate(safe(() => {
    const loop = openLoop(threshold);
    const watchdog = culprits ? watch(port, said, threshold, loop.interval) : undefined;
    const timer = setInterval(safe(() => {
      if (watchdog) watchdog.beat();
      loop.tick(send);
    }), loop.interval * 1000).unref();
    const leave = safe(() => {
      if (watchdog) watchdog.leave();
      send(loop.lastWords());
    });
    process.on('exit', leave);
    undo.push(
      () => loop.close(),
      () => clearInterval(timer),
      () => process.removeListener('exit', leave),
      () => watchdog && watchdog.stop(),
    );
  }));
  undo.push(() => clearImmediate(first));
}

/** What names the function that holds the loop. */
const watch = safe((...given) => {
  const { Watchdog } = require('./watchdog.cjs');
  return new Watchdog(...given);
});

/** The report as JSON texts below the limit of a datagram: HTTP series spill over into more. */
function* datagrams(head, own, http) {
  const series = http.report().map((one) => JSON.stringify(one));
  let fixed = JSON.stringify({ ...head, ...own }).slice(0, -1);
  let next = 0;
  do {
    const parts = [];
    let size = fixed.length + 100;
    while (next < series.length && size + series[next].length < MAX_DATAGRAM) {
      size += series[next].length + 1;
      parts.push(series[next++]);
    }
    yield `${fixed},"http":{"active":${http.active},"series":[${parts.join(',')}]}}`;
    fixed = JSON.stringify(head).slice(0, -1);
  } while (next < series.length);
}

function heap() {
  const found = v8.getHeapStatistics();
  return {
    heap_used: found.used_heap_size,
    heap_total: found.total_heap_size,
    heap_limit: found.heap_size_limit,
  };
}

/** Bytes [size, used, available, physical] of each space of the heap. */
function spaces() {
  const found = {};
  for (const one of v8.getHeapSpaceStatistics()) {
    found[one.space_name] = [
      one.space_size, one.space_used_size, one.space_available_size, one.physical_space_size,
    ];
  }
  return found;
}

/** How many resources of each type keep the loop alive; a type that has none left stays, as 0. */
function active(known) {
  if (!process.getActiveResourcesInfo) return {};
  for (const type of Object.keys(known)) known[type] = 0;
  for (const type of process.getActiveResourcesInfo()) {
    if (type in known) known[type]++;
    else if (Object.keys(known).length < MAX_RESOURCE_TYPES) known[type] = 1;
  }
  return known;
}

/** Adds up [count, seconds] of garbage collections by kind; returns what ends it. */
function watchCollections(totals) {
  const names = new Map([
    [constants.NODE_PERFORMANCE_GC_MAJOR, 'major'],
    [constants.NODE_PERFORMANCE_GC_MINOR, 'minor'],
    [constants.NODE_PERFORMANCE_GC_INCREMENTAL, 'incremental'],
    [constants.NODE_PERFORMANCE_GC_WEAKCB, 'weakcb'],
  ]);
  const observer = new PerformanceObserver(safe((list) => {
    for (const entry of list.getEntries()) {
      const name = names.get(entry.detail.kind);
      if (name === undefined) continue;
      const total = (totals[name] = totals[name] || [0, 0]);
      total[0]++;
      total[1] += entry.duration / 1000;
    }
  }));
  observer.observe({ entryTypes: ['gc'] });
  return () => observer.disconnect();
}

function safe(work) {
  return (...args) => {
    try {
      return work(...args);
    } catch {
      return undefined;
    }
  };
}

module.exports = { start };
