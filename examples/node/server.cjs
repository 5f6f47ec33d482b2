'use strict';
// A small shop that goes wrong in ways that a seed draws. See README.md.
const tracing = require('./tracing.cjs'); // first: it patches what is loaded after it
const { randomUUID } = require('crypto');
const { performance } = require('perf_hooks');
const { parseArgs } = require('util');
const { trace } = require('@opentelemetry/api');
const express = require('express');
const pino = require('pino');
const { Faults, ROUTES } = require('./faults.cjs');
const { Truth } = require('./truth.cjs');

const EXIT_MILLISECONDS = 2500;

const { values: options } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    seed: { type: 'string', default: process.env.TICKBIRD_SEED || '1' },
    truth: { type: 'string' },
  },
});
const seed = Number(options.seed);
const truth = new Truth(options.truth, seed);
const faults = new Faults(seed, truth);
truth.drawn = faults.drawn;
truth.heap.rate_bytes_per_second = faults.drawn.leak.bytes_per_second;

const logger = pino({
  base: undefined,
  timestamp: pino.stdTimeFunctions.isoTime,
  formatters: { level: (label) => ({ level: label }) },
});
function log(level, fields, message) {
  truth.logLines++;
  logger[level](fields, message);
}

/** The caller's request ID where it is fit for a header and a log, else a new one. */
function requestId(request) {
  const given = request.headers['x-request-id'];
  return /^[A-Za-z0-9._-]{1,128}$/.test(given || '') ? given : randomUUID();
}

function measured(request, response, next) {
  const began = performance.now();
  const id = requestId(request);
  const span = trace.getActiveSpan();
  response.setHeader('x-request-id', id);
  response.once('close', () => {
    const status = response.writableFinished ? response.statusCode : 0;
    const route = request.route ? request.route.path : 'unmatched';
    const seconds = (performance.now() - began) / 1000;
    truth.served(request.method, route, status, seconds);
    const fields = { request_id: id, method: request.method, route, status, seconds };
    if (span) {
      const { traceId, spanId } = span.spanContext();
      Object.assign(fields, { trace_id: traceId, span_id: spanId });
    }
    log(status >= 500 ? 'error' : 'info', fields, status >= 500 ? 'request failed' : 'request');
  });
  next();
}

function shop(route) {
  return async (request, response) => {
    await new Promise((resolve) => setTimeout(resolve, faults.delay(route) * 1000));
    if (faults.fails(route)) response.status(500).json({ error: 'the backend said no' });
    else response.json({ route, id: request.params.id });
  };
}

const app = express();
app.disable('x-powered-by');
app.use(measured);
app.get('/healthz', (_request, response) => response.json({ status: 'ok' }));
for (const route of ROUTES) app.route(route).get(shop(route)).post(shop(route));

const server = app.listen(Number(options.port), '127.0.0.1', (error) => {
  if (error) throw error;
  truth.port = server.address().port;
  truth.start();
  faults.start();
  log('info', { port: truth.port, seed }, 'listening');
});

let stopping = false;
async function stop() {
  if (stopping) return;
  stopping = true;
  const late = setTimeout(() => server.closeAllConnections(), EXIT_MILLISECONDS / 2);
  await new Promise((resolve) => {
    server.close(resolve);
    server.closeIdleConnections();
  });
  clearTimeout(late);
  await Promise.race([
    tracing.stop(),
    new Promise((resolve) => setTimeout(resolve, EXIT_MILLISECONDS / 2)),
  ]);
  log('info', {}, 'stopped');
  truth.end();
  process.exit(0);
}
process.on('SIGTERM', stop);
process.on('SIGINT', stop);
