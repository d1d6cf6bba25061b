// Stands beside a Worker with Durable Objects, on a socket for each class: gives other Workers, whose processes cannot hold the runtime's own
// stubs of this one, its objects. Its other end is `remote-object.js`.
import { WorkerEntrypoint } from 'cloudflare:workers';

const HEADER = 'selvedge-object';
const TICKET = 'ticket';

export default class extends WorkerEntrypoint {
  #stub({ id, name }) {
    // The socket says which class it is.
    const namespace = this.env[this.ctx.props.namespace];
    return name === undefined ? namespace.get(namespace.idFromString(id)) : namespace.getByName(name);
  }

  fetch(request) {
    const headers = new Headers(request.headers);
    // Open for as long as its caller keeps it open.
    if (headers.get(HEADER) === TICKET) return new Response(request.body);
    const object = JSON.parse(decodeURIComponent(headers.get(HEADER)));
    headers.delete(HEADER);
    return this.#stub(object).fetch(new Request(request, { headers }));
  }

  call(object, method, args) {
    return this.#stub(object)[method](...args);
  }

  get(object, property) {
    return this.#stub(object)[property];
  }
}
