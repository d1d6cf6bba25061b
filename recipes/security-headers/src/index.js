// Puts security headers on every response of the site behind it and takes out those that tell too much.
const SET = {
  'strict-transport-security': 'max-age=63072000; includeSubDomains; preload',
  'content-security-policy': "default-src 'self'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'strict-origin-when-cross-origin',
  'permissions-policy': 'camera=(), microphone=(), geolocation=()',
};
const REMOVED = ['x-powered-by', 'x-aspnet-version'];

/** The site; put `fetch(request)` here to stand before a server of your own. */
function site(request) {
  const { pathname } = new URL(request.url);
  if (pathname === '/missing') return new Response('Not found', { status: 404 });
  return new Response('Hello', { headers: { 'x-powered-by': 'LegacyServer/1.0', 'x-frame-options': 'SAMEORIGIN' } });
}

export default {
  async fetch(request) {
    const answer = await site(request);
    const response = new Response(answer.body, answer);
    for (const [name, value] of Object.entries(SET)) response.headers.set(name, value);
    for (const name of REMOVED) response.headers.delete(name);
    return response;
  },
};
