/** Chat rooms over WebSockets: a Durable Object for each room. */
import { DurableObject } from 'cloudflare:workers';
import { page } from './page.ts';

const HISTORY = 100;
const MAX_TEXT = 1_000;
/** Messages that one socket may send in a second. */
const MAX_PER_SECOND = 20;

interface Member {
  name: string;
  second: number;
  sent: number;
}

export class Room extends DurableObject {
  constructor(ctx: any, env: unknown) {
    super(ctx, env);
    ctx.storage.sql.exec('CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY, name TEXT, text TEXT)');
  }

  get #sql() {
    return this.ctx.storage.sql;
  }

  override fetch(request: Request): Response {
    const name = new URL(request.url).searchParams.get('name')?.trim().slice(0, 40) || 'somebody';
    const [client, server] = Object.values(new WebSocketPair()) as [any, any];
    this.ctx.acceptWebSocket(server);
    server.serializeAttachment({ name, second: 0, sent: 0 } satisfies Member);
    const last = this.#sql.exec('SELECT id, name, text FROM messages ORDER BY id DESC LIMIT ?', HISTORY).toArray();
    server.send(JSON.stringify({ history: last.reverse() }));
    return new Response(null, { status: 101, webSocket: client } as ResponseInit);
  }

  webSocketMessage(socket: any, text: unknown): void {
    const member = socket.deserializeAttachment() as Member;
    const second = Math.floor(Date.now() / 1000);
    const sent = member.second === second ? member.sent + 1 : 1;
    socket.serializeAttachment({ ...member, second, sent });
    if (typeof text !== 'string' || text.length > MAX_TEXT || text.trim() === '') return;
    if (sent > MAX_PER_SECOND) {
      socket.close(1008, 'too many messages');
      return;
    }
    const message = this.#sql
      .exec('INSERT INTO messages (name, text) VALUES (?, ?) RETURNING id, name, text', member.name, text)
      .one();
    this.#sql.exec('DELETE FROM messages WHERE id <= ?', message.id - HISTORY);
    const json = JSON.stringify({ message });
    for (const each of this.ctx.getWebSockets()) each.send(json);
  }

  webSocketClose(socket: any, code: number): void {
    socket.close(code === 1006 ? 1001 : code);
  }
}

export default {
  fetch(request: Request, env: { ROOMS: any }): Response | Promise<Response> {
    const { pathname } = new URL(request.url);
    const [, room, part] = /^\/rooms\/([\w-]{1,64})(\/socket)?$/.exec(pathname) ?? [];
    if (!room) return new Response('Open /rooms/<name>', { status: 404 });
    if (!part) return new Response(page(room), { headers: { 'content-type': 'text/html; charset=utf-8' } });
    if (request.headers.get('upgrade') !== 'websocket') return new Response('A WebSocket is expected', { status: 426 });
    return env.ROOMS.getByName(room).fetch(request);
  },
};
