/** An A/B test decided at the edge: the visitor gets one page that is right from the first byte, so nothing flickers. A cookie keeps the choice. */
const COOKIE = 'ab-headline';
const HEADLINES = { a: 'Sell more', b: 'Worry less' } as const;
type Variant = keyof typeof HEADLINES;

function variantOf(request: Request): Variant | undefined {
  const found = new RegExp(`(?:^|;\\s*)${COOKIE}=([ab])(?:;|$)`).exec(request.headers.get('cookie') ?? '');
  return found?.[1] as Variant | undefined;
}

export default {
  async fetch(request: Request): Promise<Response> {
    const known = variantOf(request);
    const variant = known ?? (Math.random() < 0.5 ? 'a' : 'b');
    const headers = new Headers({ 'content-type': 'text/html; charset=utf-8', 'cache-control': 'private' });
    if (!known) headers.append('set-cookie', `${COOKIE}=${variant}; Path=/; Max-Age=2592000; SameSite=Lax; HttpOnly`);
    return new Response(
      `<!doctype html><html><body data-variant="${variant}"><h1>${HEADLINES[variant]}</h1></body></html>`,
      { headers },
    );
  },
};
