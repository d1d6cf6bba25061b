/** The Worker that a new Selvedge starts with: says hello, shows where the request arrived and what to do next. */
const escapeHtml = (text) => String(text).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);

export default {
  fetch(request) {
    const { pathname, hostname } = new URL(request.url);
    if (pathname === '/robots.txt') return new Response('User-agent: *\nDisallow: /\n');
    if (pathname !== '/') return new Response('Not here. Try /\n', { status: 404 });
    return new Response(page(hostname, request.cf ?? {}), {
      headers: {
        'content-type': 'text/html; charset=utf-8',
        'cache-control': 'no-store',
        'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'",
      },
    });
  },
};

function page(hostname, cf) {
  const colo = escapeHtml(cf.colo ?? 'an unnamed PoP');
  const country = escapeHtml(cf.country ?? 'an unknown country');
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Welcome to your edge</title>
<style>
  body { font: 17px/1.6 system-ui, sans-serif; max-width: 40rem; margin: 12vh auto; padding: 0 1.5rem; color: #1c2733 }
  h1 { font-weight: 600 } code, pre { font-family: ui-monospace, monospace; background: #f1f4f7; border-radius: 6px }
  code { padding: .1em .35em } pre { padding: 1rem; overflow-x: auto }
  @media (prefers-color-scheme: dark) { body { background: #12181f; color: #dde6ee } code, pre { background: #1d2731 } }
</style>
<h1>It works: this is your own edge.</h1>
<p>A Worker answered you at <code>${escapeHtml(hostname)}</code>, from <b>${colo}</b>; you came from <b>${country}</b>.</p>
<h2>Deploy your own</h2>
<pre>set -a; . &lt;data directory&gt;/wrangler.env; set +a
npx wrangler deploy</pre>
<p>The first line points the unmodified <code>wrangler</code> at this edge (<code>selvedge up</code> prints the path when it starts);
the second deploys the Worker of the directory you are in. It is live when the command returns.</p>
</html>
`;
}
