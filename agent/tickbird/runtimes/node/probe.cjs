'use strict';
// What `tickbird exec` puts into a Node service by NODE_OPTIONS=--require.
//
// It stays in NODE_OPTIONS for children, since `npm start` and cluster workers cannot be told
// apart from tools by their environment; every process reports under its own pid, and the agent
// looks only at the pids it watches. Worker threads are left alone.
//
// This file has no syntax that Node 10 would not parse; the others are loaded where what they throw
// is caught.

const LOADED = Symbol.for('tickbird.probe.v1');

try {
  const port = /^127\.0\.0\.1:(\d{1,5})$/.exec(process.env.TICKBIRD_PROBE || '');
  if (port && !globalThis[LOADED] && require('worker_threads').isMainThread) {
    Object.defineProperty(globalThis, LOADED, { value: true });
    require('./report.cjs').start({
      port: Number(port[1]),
      token: process.env.TICKBIRD_PROBE_TOKEN || '',
      method: 'probe',
      pid: process.pid,
      threshold: Number(process.env.TICKBIRD_STALL_SECONDS) || 0.1,
      culprits: process.env.TICKBIRD_CULPRITS !== 'off',
    });
  }
} catch (error) {
  // A probe never breaks its service.
}
