/** A static page with a like counter and comments, which stand in the page as it is served. */
import { DurableObject } from 'cloudflare:workers';

interface Comment {
  name: string;
  text: string;
}

/** Of one page. */
export class Page extends DurableObject {
  constructor(ctx: any, env: unknown) {
    super(ctx, env);
    ctx.storage.sql.exec(`CREATE TABLE IF NOT EXISTS likes (visitor TEXT PRIMARY KEY);
      CREATE TABLE IF NOT EXISTS comments (id INTEGER PRIMARY KEY, name TEXT, text TEXT)`);
  }

  get #sql() {
    return this.ctx.storage.sql;
  }

  like(visitor: string): void {
    this.#sql.exec('INSERT OR IGNORE INTO likes VALUES (?)', visitor);
  }

  comment({ name, text }: Comment): void {
    this.#sql.exec('INSERT INTO comments (name, text) VALUES (?, ?)', name, text);
  }

  read(): { likes: number; comments: Comment[] } {
    return {
      likes: this.#sql.exec('SELECT count(*) AS n FROM likes').one().n,
      comments: this.#sql.exec('SELECT name, text FROM comments ORDER BY id DESC LIMIT 50').toArray(),
    };
  }
}

const escaped = (text: string) => text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);

async function post(request: Request, url: URL, page: any): Promise<Response> {
  const headers = new Headers({ location: url.pathname });
  if (url.search === '?like') {
    const known = /(?:^|;\s*)visitor=([\w-]{36})/.exec(request.headers.get('cookie') ?? '')?.[1];
    const visitor = known ?? crypto.randomUUID();
    await page.like(visitor);
    if (!known) headers.set('set-cookie', `visitor=${visitor}; Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax`);
  } else {
    const form = await request.formData();
    const [name, text] = [form.get('name'), form.get('text')].map((field) => String(field ?? '').trim()) as [
      string,
      string,
    ];
    if (!name || !text || name.length > 60 || text.length > 2_000)
      return new Response('A name and a comment, please.', { status: 400 });
    await page.comment({ name, text });
  }
  return new Response(null, { status: 303, headers });
}

export default {
  async fetch(
    request: Request,
    env: { FILES: { fetch(request: Request): Promise<Response> }; PAGES: any },
  ): Promise<Response> {
    const url = new URL(request.url);
    const file = await env.FILES.fetch(new Request(`${url.origin}${url.pathname}`));
    // Only pages that there are have an object.
    if (!file.ok || !file.headers.get('content-type')?.startsWith('text/html')) return file;
    const page = env.PAGES.getByName(url.pathname);
    if (request.method === 'POST') return post(request, url, page);
    const { likes, comments } = (await page.read()) as { likes: number; comments: Comment[] };
    const list = comments.map(({ name, text }) => `<p><b>${escaped(name)}</b>: ${escaped(text)}</p>`).join('');
    const response = new HTMLRewriter()
      .on('[data-likes]', { element: (element: any) => element.setInnerContent(String(likes)) })
      .on('[data-comments]', { element: (element: any) => element.setInnerContent(list, { html: true }) })
      .transform(file);
    const headers = new Headers(response.headers);
    headers.set('cache-control', 'no-store');
    headers.delete('etag');
    return new Response(response.body, { headers });
  },
};
