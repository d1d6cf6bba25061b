interface Env {
  FILMS: R2Bucket;
  UPLOAD_TOKEN?: string;
}

/** Ranges make players jump: each answer is a part of the film, and what has not changed is not sent again. */
async function film(request: Request, env: Env, name: string): Promise<Response> {
  const object = await env.FILMS.get(name, { range: request.headers, onlyIf: request.headers });
  if (!object) return new Response('There is no such film.\n', { status: 404 });
  const headers = new Headers({ 'accept-ranges': 'bytes', 'cache-control': 'max-age=3600', etag: object.httpEtag });
  object.writeHttpMetadata(headers);
  if (!('body' in object))
    return new Response(null, { status: request.headers.has('if-none-match') ? 304 : 412, headers });
  const { range, size } = object;
  if (!request.headers.has('range') || !range || !('offset' in range)) return new Response(object.body, { headers });
  const { offset = 0, length = size - offset } = range;
  headers.set('content-range', `bytes ${offset}-${offset + length - 1}/${size}`);
  headers.set('content-length', String(length));
  return new Response(object.body, { status: 206, headers });
}

async function upload(request: Request, env: Env, name: string): Promise<Response> {
  const expected = `Bearer ${env.UPLOAD_TOKEN}`;
  const given = request.headers.get('authorization') ?? '';
  if (!env.UPLOAD_TOKEN || !(await isSame(given, expected))) return new Response('Not for you.\n', { status: 401 });
  const contentType = request.headers.get('content-type') ?? '';
  if (!/^(video|audio)\//.test(contentType))
    return new Response('A film has a type such as video/webm.\n', { status: 415 });
  if (!request.body) return new Response('The film is missing.\n', { status: 400 });
  const { etag, size } = await env.FILMS.put(name, request.body, { httpMetadata: { contentType } });
  return Response.json({ name, etag, size }, { status: 201 });
}

/** Takes the same time whatever is wrong. */
async function isSame(a: string, b: string): Promise<boolean> {
  const [x, y] = await Promise.all(
    [a, b].map((text) => crypto.subtle.digest('SHA-256', new TextEncoder().encode(text))),
  );
  return crypto.subtle.timingSafeEqual(x!, y!);
}

const textOf = (text: string) => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

function page(title: string, body: string): Response {
  const html = `<!doctype html><meta charset="utf-8"><title>${textOf(title)}</title>${body}`;
  return new Response(html, { headers: { 'content-type': 'text/html; charset=utf-8' } });
}

async function list(env: Env): Promise<Response> {
  const { objects } = await env.FILMS.list();
  const items = objects.map(
    ({ key, size }) => `<li><a href="/watch/${encodeURIComponent(key)}">${textOf(key)}</a> (${size} bytes)`,
  );
  return page('Films', `<h1>Films</h1><ul>${items.join('')}</ul>`);
}

export default {
  async fetch(request, env) {
    const [, room, ...rest] = new URL(request.url).pathname.split('/');
    const name = decodeURIComponent(rest.join('/'));
    if (room === '' && request.method === 'GET') return list(env);
    if (room === 'watch' && name !== '')
      return page(name, `<video controls src="/films/${encodeURIComponent(name)}"></video>`);
    if (room === 'films' && name !== '') {
      if (request.method === 'PUT') return upload(request, env, name);
      if (request.method === 'GET') return film(request, env, name);
    }
    return new Response('Nothing here.\n', { status: 404 });
  },
} satisfies ExportedHandler<Env>;
