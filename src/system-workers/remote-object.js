// A Durable Object of another Worker, as the runtime of the process that binds it sees it: an object of the same id without storage, that hands
// on what it is asked. So ids, stubs and what RPC can carry are the runtime's own.
import { DurableObject } from 'cloudflare:workers';

const HEADER = 'selvedge-object';
const TICKET = 'ticket';

/**
 * Runs a call of the owner's process while a request to it is open. When that process is to be replaced, requests that are open may end and
 * others wait for the next process; calls share one connection, which has no such order.
 */
async function withTicket(owner, call) {
  const { readable, writable } = new TransformStream();
  const ticket = await owner.fetch('http://object/', { method: 'POST', body: readable, headers: { [HEADER]: TICKET } });
  try {
    return await call();
  } finally {
    // Nobody waits for its end; if the process is gone, so is the ticket.
    writable
      .close()
      .then(() => ticket.arrayBuffer())
      .catch(() => undefined);
  }
}

export class RemoteObject extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    const { OWNER } = env;
    const object = { id: ctx.id.toString(), name: ctx.id.name };
    const header = encodeURIComponent(JSON.stringify(object));

    function fetch(request) {
      const headers = new Headers(request.headers);
      headers.set(HEADER, header);
      return OWNER.fetch(new Request(request, { headers }));
    }

    /** The runtime calls a method, or waits for a property: here nobody knows yet which of them it is. */
    function method(name) {
      const call = (...args) => withTicket(OWNER, () => OWNER.call(object, name, args));
      // biome-ignore lint/suspicious/noThenProperty: it is what makes it a property that can be waited for
      call.then = (onValue, onError) => withTicket(OWNER, () => OWNER.get(object, name)).then(onValue, onError);
      return call;
    }

    // biome-ignore lint/correctness/noConstructorReturn: names of methods are only known by their calls
    return new Proxy(this, {
      get(target, name) {
        if (name === 'fetch') return fetch;
        return typeof name === 'symbol' || name in target ? Reflect.get(target, name) : method(name);
      },
    });
  }
}
