/** Reservation of names: each name once, each person once, confirmed by a link. */
import { DurableObject } from 'cloudflare:workers';

interface Env {
  BLOCKED: string;
  PENDING_MS: number;
  NAMES: any;
  PEOPLE: any;
}
interface Reservation {
  email: string;
  token: string;
  confirmed: boolean;
}

/** Who has this name. */
export class Name extends DurableObject {
  get #storage() {
    return this.ctx.storage;
  }

  /** False if somebody else has it. */
  async reserve(email: string, token: string, pendingMs: number): Promise<boolean> {
    const there = (await this.#storage.get('reservation')) as Reservation | undefined;
    if (there) return false;
    await this.#storage.put('reservation', { email, token, confirmed: false } satisfies Reservation);
    await this.#storage.setAlarm(Date.now() + pendingMs);
    return true;
  }

  async confirm(token: string): Promise<boolean> {
    const there = (await this.#storage.get('reservation')) as Reservation | undefined;
    if (!there || there.token !== token) return false;
    await this.#storage.put('reservation', { ...there, confirmed: true });
    await this.#storage.deleteAlarm();
    return true;
  }

  async taken(): Promise<boolean> {
    return (await this.#storage.get('reservation')) !== undefined;
  }

  /** Nobody followed the link. */
  async alarm(): Promise<void> {
    const there = (await this.#storage.get('reservation')) as Reservation | undefined;
    if (!there || there.confirmed) return;
    await this.env.PEOPLE.getByName(there.email).release();
    await this.#storage.deleteAll();
  }
}

/** Which name this person has. */
export class Person extends DurableObject {
  get #storage() {
    return this.ctx.storage;
  }

  /** False if the person has another name already. */
  async take(name: string): Promise<boolean> {
    if ((await this.#storage.get('name')) !== undefined) return false;
    await this.#storage.put('name', name);
    return true;
  }

  async release(): Promise<void> {
    await this.#storage.deleteAll();
  }
}

async function reserve(url: URL, env: Env): Promise<Response> {
  const name = (url.searchParams.get('name') ?? '').toLowerCase();
  const email = (url.searchParams.get('email') ?? '').toLowerCase();
  if (!/^[a-z][a-z0-9-]{0,61}[a-z0-9]$/.test(name)) return new Response('not a name', { status: 400 });
  if (!/^[^@\s]{1,64}@[^@\s]{1,190}$/.test(email)) return new Response('not an e-mail address', { status: 400 });
  if (env.BLOCKED.split(',').includes(name)) return new Response('this name is nobody’s', { status: 403 });
  const person = env.PEOPLE.getByName(email);
  // The person first: who has a name already must not hold another one even for a moment.
  if (!(await person.take(name))) return new Response('you have a name already', { status: 409 });
  const token = crypto.randomUUID();
  if (!(await env.NAMES.getByName(name).reserve(email, token, Number(env.PENDING_MS)))) {
    await person.release();
    return new Response('this name is taken', { status: 409 });
  }
  return Response.json({ name, link: `${url.origin}/confirm?name=${name}&token=${token}` }, { status: 201 });
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const url = new URL(request.url);
    const name = url.searchParams.get('name') ?? '';
    if (request.method === 'POST' && url.pathname === '/reserve') return reserve(url, env);
    if (url.pathname === '/confirm') {
      const ok = await env.NAMES.getByName(name).confirm(url.searchParams.get('token') ?? '');
      return ok ? Response.json({ name, confirmed: true }) : new Response('this link is not valid', { status: 403 });
    }
    if (url.pathname === '/free') return Response.json({ name, free: !(await env.NAMES.getByName(name).taken()) });
    return new Response('Not here', { status: 404 });
  },
};
