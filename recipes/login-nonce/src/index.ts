/** Login by a link that works once, in the browser that asked for it, for ten minutes. */
interface Kv {
  get(key: string, type: 'json'): Promise<unknown>;
  put(key: string, value: string, options: { expirationTtl: number }): Promise<void>;
  delete(key: string): Promise<void>;
}
interface Pending {
  user: string;
  /** SHA-256 of the half that the browser keeps, in hex. */
  browser: string;
}

const TEN_MINUTES = 600;

function random(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

async function sha256(text: string): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text));
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

async function start(user: string, url: URL, nonces: Kv): Promise<Response> {
  const [nonce, browser] = [random(), random()];
  const pending: Pending = { user, browser: await sha256(browser) };
  await nonces.put(nonce, JSON.stringify(pending), { expirationTtl: TEN_MINUTES });
  return Response.json(
    { link: `${url.origin}/finish?nonce=${nonce}` },
    { headers: { 'set-cookie': `login=${browser}; HttpOnly; SameSite=Lax; Path=/finish; Max-Age=${TEN_MINUTES}` } },
  );
}

async function finish(nonce: string, cookie: string, nonces: Kv): Promise<Response> {
  const pending = (await nonces.get(nonce, 'json')) as Pending | null;
  const browser = /(?:^|;\s*)login=([0-9a-f]{32})/.exec(cookie)?.[1] ?? '';
  if (!pending || pending.browser !== (await sha256(browser))) {
    return new Response('This link is used, too old, or of another browser.', { status: 403 });
  }
  await nonces.delete(nonce);
  return Response.json({ user: pending.user }, { headers: { 'set-cookie': 'login=; Path=/finish; Max-Age=0' } });
}

export default {
  async fetch(request: Request, { NONCES }: { NONCES: Kv }): Promise<Response> {
    const url = new URL(request.url);
    const user = url.searchParams.get('user');
    const nonce = url.searchParams.get('nonce');
    if (url.pathname === '/start' && user) return start(user, url, NONCES);
    if (url.pathname === '/finish' && /^[0-9a-f]{32}$/.test(nonce ?? '')) {
      return finish(nonce!, request.headers.get('cookie') ?? '', NONCES);
    }
    return new Response('Not here', { status: 404 });
  },
};
