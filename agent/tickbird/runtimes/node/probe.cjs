'use strict';
// What `tickbird exec` puts into a Node service by NODE_OPTIONS=--require: it reports the event
// loop, heap, garbage collection and HTTP requests over UDP on loopback, once per second.
//
// It stays in NODE_OPTIONS for children, since `npm start` and cluster workers cannot be told
// apart from tools by their environment; every process reports under its own pid, and the agent
// looks only at the pids it watches. Worker threads are left alone.
//
// It must never break its service nor keep it alive: what can throw is caught, what can hold the
// loop open is unref'd. This file has no syntax that Node 10 would not parse; the others are loaded
// where what they throw is caught.

const LOADED = Symbol.for('tickbird.probe.v1');
const MAX_DATAGRAM = 60000;

function start(port) {
  const dgram = require('dgram');
  const { HttpTotals } = require('./http.cjs');
  const { openLoop } = require('./loop.cjs');

  const threshold = Number(process.env.TICKBIRD_STALL_SECONDS) || 0.1;
  const token = process.env.TICKBIRD_PROBE_TOKEN || '';
  const http = new HttpTotals();
  http.subscribe();
  const collections = watchCollections();
  const socket = dgram.createSocket('udp4');
  socket.on('error', () => {});
  socket.connect(port, '127.0.0.1');
  socket.unref();

  let seq = 0;
  const send = safe(({ start: from, duration, loop: iterations, stalls }) => {
    const head = {
      v: 1, token, pid: process.pid, runtime: 'node', version: process.versions.node,
      seq: seq++, start: from, duration,
    };
    const own = { loop: iterations, stalls, memory: heap(), gc: collections };
    for (const datagram of datagrams(head, own, http)) socket.send(datagram, () => {});
  });
  // Loading the service's modules comes before the first turn of the loop: it is no stall.
  setImmediate(safe(() => {
    const loop = openLoop(threshold);
    const watchdog = watch(port, { v: 1, token, pid: process.pid }, threshold, loop.interval);
    setInterval(safe(() => {
      if (watchdog) watchdog.beat();
      loop.tick(send);
    }), loop.interval * 1000).unref();
    process.on('exit', safe(() => {
      if (watchdog) watchdog.leave();
      send(loop.lastWords());
    }));
  }));
}

/** What names the function that holds the loop; undefined where it is switched off. */
const watch = safe((...given) => {
  if (process.env.TICKBIRD_CULPRITS === 'off') return undefined;
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
  const found = require('v8').getHeapStatistics();
  return {
    heap_used: found.used_heap_size,
    heap_total: found.total_heap_size,
    heap_limit: found.heap_size_limit,
  };
}

/** Running totals [count, seconds] of garbage collections by kind; filled while it is watched. */
function watchCollections() {
  const { PerformanceObserver, constants } = require('perf_hooks');
  const names = new Map([
    [constants.NODE_PERFORMANCE_GC_MAJOR, 'major'],
    [constants.NODE_PERFORMANCE_GC_MINOR, 'minor'],
    [constants.NODE_PERFORMANCE_GC_INCREMENTAL, 'incremental'],
    [constants.NODE_PERFORMANCE_GC_WEAKCB, 'weakcb'],
  ]);
  const totals = {};
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
  return totals;
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

safe(() => {
  const port = /^127\.0\.0\.1:(\d{1,5})$/.exec(process.env.TICKBIRD_PROBE || '');
  if (!port || globalThis[LOADED] || !require('worker_threads').isMainThread) return;
  Object.defineProperty(globalThis, LOADED, { value: true });
  start(Number(port[1]));
})();
