'use strict';
// What `tickbird attach --inject` puts into a Node process that already runs. It stays for as long
// as an agent answers its reports, and then leaves without a trace.
const { start } = require('./report.cjs');

const LOADED = Symbol.for('tickbird.probe.v1');
/** Fewer than these, and the agent that asked for the probe is there. */
const FEW = 3;

/**
 * Says `attached`, or why not: `launched` with a probe of its own, or `watched` by another agent.
 * `settings` are those of `start`, and `patience`: how many reports without an answer mean that
 * nobody listens. They are counted, one a second, and not timed: a loop that stood still for long
 * has not been left alone.
 */
function attach({ patience, ...settings }) {
  const found = globalThis[LOADED];
  if (found === true) return 'launched';
  if (found && found.unanswered() < FEW) return 'watched';
  if (found) found.stop();

  let unanswered = 0;
  const stop = start({
    ...settings,
    hear(answer) {
      if (answer === 'keep') unanswered = 0;
      else end();
    },
  });
  const timer = setInterval(() => {
    if (++unanswered > patience) end();
  }, 1000).unref();
  function end() {
    clearInterval(timer);
    stop();
    if (globalThis[LOADED] === probe) delete globalThis[LOADED];
  }
  const probe = { stop: end, unanswered: () => unanswered };
  Object.defineProperty(globalThis, LOADED, { value: probe, configurable: true });
  return 'attached';
}

module.exports = attach;
