// Tells what a user's modules export; the string USER_MODULE below is replaced by the name of their main module. Runs once, at upload.

import { DurableObject, WorkerEntrypoint, WorkflowEntrypoint } from 'cloudflare:workers';

const EVENTS = ['fetch', 'scheduled', 'queue', 'tail', 'tailStream', 'trace', 'email', 'alarm', 'test', 'connect'];
const BASES = [
  ['worker', WorkerEntrypoint],
  ['durable-object', DurableObject],
  ['workflow', WorkflowEntrypoint],
];

function kindOf(value) {
  for (const [kind, base] of BASES) if (base && value.prototype instanceof base) return kind;
  return 'durable-object';
}

function handlersOf(target) {
  return EVENTS.filter((name) => typeof target?.[name] === 'function');
}

function entrypoint(name, value) {
  if (typeof value === 'function') {
    // A plain function is no entrypoint; a class without a known base is a Durable Object of the old style.
    if (!/^class\b/.test(Function.prototype.toString.call(value))) return null;
    return { name, kind: kindOf(value), handlers: handlersOf(value.prototype) };
  }
  if (typeof value !== 'object' || value === null) return null;
  return { name, kind: 'object', handlers: handlersOf(value) };
}

export default {
  async fetch() {
    // Only now: beside this Worker theirs has started by itself, and that start is what is measured and limited.
    const user = await import('USER_MODULE');
    const main = user.default;
    const handlers = handlersOf(typeof main === 'function' ? main.prototype : main);
    const entrypoints = Object.entries(user)
      .filter(([name]) => name !== 'default')
      .map(([name, value]) => entrypoint(name, value))
      .filter((entry) => entry !== null);
    return Response.json({ handlers, entrypoints });
  },
};
