// Stands before a user's main module where requests are traced: each fetch() of theirs carries on the trace of the request it belongs to.
// Loaded before theirs, so that it holds for what they keep of the global fetch too.
import { AsyncLocalStorage } from 'node:async_hooks';

const HEADER = 'traceparent';
const current = new AsyncLocalStorage();

/** fetch() with the current trace, unless the caller has named one. */
function propagating(original) {
  return function fetch(input, init) {
    const traceparent = current.getStore();
    if (traceparent === undefined) return original.call(this, input, init);
    let request;
    try {
      request = new Request(input, init);
      if (!request.headers.has(HEADER)) request.headers.set(HEADER, traceparent);
    } catch {
      // What is no request: theirs to hear of.
      return original.call(this, input, init);
    }
    return original.call(this, request);
  };
}

globalThis.fetch = propagating(globalThis.fetch);

function replace(target, value) {
  try {
    Object.defineProperty(target, 'fetch', { value, configurable: true, writable: true });
  } catch {
    // Frozen: served, not traced further.
  }
}

let bindingsDone = false;
/** Service bindings share a prototype, which no global names. */
function patchBindings(env) {
  if (bindingsDone || typeof env !== 'object' || env === null) return;
  for (const binding of Object.values(env)) {
    if (binding?.constructor?.name !== 'Fetcher') continue;
    bindingsDone = true;
    replace(Object.getPrototypeOf(binding), propagating(Object.getPrototypeOf(binding).fetch));
    return;
  }
}

function entering(original) {
  return function fetch(request, ...rest) {
    patchBindings(rest.length > 0 ? rest[0] : this.env);
    const traceparent = request?.headers?.get?.(HEADER);
    if (!traceparent) return original.call(this, request, ...rest);
    return current.run(traceparent, () => original.call(this, request, ...rest));
  };
}

/** The same export, whose requests are entered with their trace. */
export function traced(exported) {
  const target = typeof exported === 'function' ? exported.prototype : exported;
  if (typeof target === 'object' && target !== null && typeof target.fetch === 'function') {
    replace(target, entering(target.fetch));
  }
  return exported;
}
