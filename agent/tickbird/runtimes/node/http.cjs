'use strict';
// Exact totals of the HTTP requests that this process served, by method, route and status.
const channels = require('diagnostics_channel');
const { performance } = require('perf_hooks');
const { Spread, trim } = require('./fine.cjs');

const METHODS = new Set([
  'CONNECT', 'DELETE', 'GET', 'HEAD', 'OPTIONS', 'PATCH', 'POST', 'PUT', 'TRACE',
]);
const MAX_ROUTES = 200;
const MAX_ROUTE_LENGTH = 200;
/** Status of a request whose client went away before the answer was complete. */
const ABORTED = 0;

const seconds = () => performance.now() / 1000;

// Express gives the parts of a mounted path as they came, identifiers included.
const IDENTIFIER = /\/(?:\d+|[0-9a-f]{8,}(?:-[0-9a-f]+)*)(?=\/|$)/gi;
const PATTERN = /[*+?(){}]/;

/** Route template that Express left on the request; null when none matched. */
function expressRoute(request) {
  const path = request.route && request.route.path;
  if (path === undefined || path === null) return null;
  const route = mountedAt(request, String(path)).replace(IDENTIFIER, '/:id') + String(path);
  return route.length > 1 && route.endsWith('/') ? route.slice(0, -1) : route;
}

/** Where the router of a matched `path` is mounted. */
function mountedAt({ baseUrl, originalUrl }, path) {
  if (typeof baseUrl !== 'string') return '';
  if (baseUrl !== '' || typeof originalUrl !== 'string' || PATTERN.test(path)) return baseUrl;
  // Express has taken baseUrl back when an error handler answers; then it is what stands in the
  // URL before as many segments as the template has.
  const [whole] = originalUrl.split('?', 1);
  const segments = whole.replace(/\/$/, '').split('/');
  const own = path.replace(/\/$/, '').split('/').length - 1;
  return segments.slice(0, segments.length - own).join('/');
}

class HttpTotals {
  constructor() {
    this.active = 0;
    this.series = new Map();
    this.routes = new Set();
    this.started = new Map(); // socket -> Map(response -> when), several when pipelined
    this.fastify = new WeakMap(); // request -> route
    const totals = this;
    this.onClose = function onClose() {
      try {
        totals.closed(this);
      } catch {
        // A probe never breaks its service.
      }
    };
  }

  /** Begins to count; returns what ends it. */
  subscribe() {
    const listening = [];
    const listen = (name, take) => {
      const heard = (message) => {
        try {
          take(message);
        } catch {
          // A probe never breaks its service.
        }
      };
      channels.subscribe(name, heard);
      listening.push([name, heard]);
    };
    listen('http.server.request.start', (message) => this.start(message));
    listen('http.server.response.finish', (message) => this.finish(message));
    listen('tracing:fastify.request.handler:start', ({ request, route }) => {
      if (route && typeof route.url === 'string') this.fastify.set(request.raw, route.url);
    });
    return () => {
      for (const [name, heard] of listening) channels.unsubscribe(name, heard);
      for (const socket of this.started.keys()) socket.removeListener('close', this.onClose);
    };
  }

  start({ response, socket }) {
    let waiting = this.started.get(socket);
    if (waiting === undefined) {
      waiting = new Map();
      this.started.set(socket, waiting);
      socket.once('close', this.onClose);
    }
    waiting.set(response, seconds());
    this.active++;
  }

  finish({ request, response, socket }) {
    const waiting = this.started.get(socket);
    const since = waiting && waiting.get(response);
    if (since === undefined) return;
    waiting.delete(response);
    this.count(request, response.statusCode, seconds() - since);
  }

  closed(socket) {
    const waiting = this.started.get(socket);
    if (waiting === undefined) return;
    this.started.delete(socket);
    for (const [response, since] of waiting) this.count(response.req, ABORTED, seconds() - since);
  }

  count(request, status, duration) {
    this.active--;
    const method = METHODS.has(request.method) ? request.method : '_OTHER';
    const route = this.bounded(this.fastify.get(request) || expressRoute(request));
    const key = `${status} ${method} ${route}`;
    let one = this.series.get(key);
    if (one === undefined) {
      one = { method, route, status, spread: new Spread() };
      this.series.set(key, one);
    }
    one.spread.add(duration);
  }

  bounded(route) {
    if (route === null || this.routes.has(route)) return route;
    if (this.routes.size >= MAX_ROUTES || route.length > MAX_ROUTE_LENGTH) return '_overflow';
    this.routes.add(route);
    return route;
  }

  /** Every series as the protocol has it: running totals since the process started. */
  report() {
    return Array.from(this.series.values(), ({ method, route, status, spread }) => ({
      method,
      route,
      status,
      count: spread.count,
      sum: trim(spread.sum),
      max: trim(spread.max),
      hist: spread.hist,
    }));
  }
}

module.exports = { HttpTotals };
