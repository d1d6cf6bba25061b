/** What Workers reach by fetch(), WebSocket and connect(): through real Workers, to origins of this test and to each other. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import { WebSocketServer } from 'ws';
import { type Answer, eventually, startEdge } from './harness.ts';

const edge = await startEdge({ args: ['--allow-egress', '127.0.0.1'] });
after(() => edge.close());

/** Requests that the origin got, newest last. */
const seen: { url: string; headers: IncomingMessage['headers'] }[] = [];
let aborted = 0;
const origin = createServer((req, res) => {
  seen.push({ url: req.url ?? '', headers: req.headers });
  answer(req, res);
}).listen(0, '127.0.0.1');
const sockets = new WebSocketServer({ server: origin });
sockets.on('connection', (socket, req) => {
  socket.on('message', (data) => socket.send(`${req.headers.host} says ${data}`));
});
await once(origin, 'listening');
const { port } = origin.address() as AddressInfo;
const at = `http://127.0.0.1:${port}`;
after(() => {
  sockets.close();
  origin.closeAllConnections();
  origin.close();
});

function answer(req: IncomingMessage, res: ServerResponse): void {
  const { pathname, searchParams } = new URL(req.url!, 'http://origin');
  if (pathname === '/redirect') res.writeHead(302, { location: searchParams.get('to')! }).end('moved');
  else if (pathname === '/echo') req.pipe(res);
  else if (pathname === '/gzip') {
    const squeezed = req.headers['accept-encoding']?.includes('gzip');
    if (squeezed) res.setHeader('content-encoding', 'gzip');
    res.end(squeezed ? gzipSync('squeezed') : 'plain');
  } else if (pathname === '/never') res.once('close', () => aborted++);
  else if (pathname === '/reset') req.socket.destroy();
  else res.end(`origin of ${req.headers.host}${req.url}`);
}

async function deploy(name: string, source: string, config: Record<string, unknown> = {}): Promise<string> {
  const cwd = await edge.project(
    { name, main: 'index.js', compatibility_date: '2026-11-01', ...config },
    { 'index.js': source },
  );
  await edge.deployed(['deploy'], { cwd });
  return edge.host(name);
}

/** Does what the query says: `to`, `redirect`, `override`. */
const FETCHER = `
import { connect } from 'cloudflare:sockets';
export default { async fetch(request) {
  const { pathname, searchParams } = new URL(request.url);
  const to = searchParams.get('to');
  const told = (promise) => promise.then((text) => new Response(text), (error) => new Response('thrown: ' + error.message));
  switch (pathname) {
    case '/fetch': {
      const redirect = searchParams.get('redirect') ?? 'follow';
      const resolveOverride = searchParams.get('override') ?? undefined;
      return told(fetch(to, { redirect, cf: { cacheTtl: 5, scrapeShield: false, resolveOverride } }).then(async (response) =>
        [response.status, response.redirected, await response.text()].join(' ')));
    }
    case '/read': return told(fetch(to, { headers: request.headers }).then((response) => response.text()));
    case '/pass': return fetch(to, { headers: request.headers });
    case '/upload': return fetch(to, { method: 'POST', body: request.body });
    case '/abort': {
      const controller = new AbortController();
      setTimeout(() => controller.abort(), 100);
      return told(fetch(to, { signal: controller.signal }).then(() => 'answered'));
    }
    case '/tcp': return told((async () => {
      const socket = connect(to);
      const writer = socket.writable.getWriter();
      await writer.write(new TextEncoder().encode('over TCP'));
      await writer.close();
      return new Response(socket.readable).text();
    })());
  }
} }`;
const host = await deploy('fetcher', FETCHER);
const query = (values: Record<string, string>) => new URLSearchParams(values).toString();
const fetched = async (values: Record<string, string>) => (await edge.request(host, `/fetch?${query(values)}`)).text;

describe('fetch() of a Worker', () => {
  it('follows redirects, or gives them, or refuses them, as it is asked', async () => {
    const to = `${at}/redirect?${query({ to: '/target' })}`;
    assert.equal(await fetched({ to }), `200 true origin of 127.0.0.1:${port}/target`);
    assert.equal(await fetched({ to, redirect: 'manual' }), '302 false moved');
    assert.match(await fetched({ to, redirect: 'error' }), /^thrown: /);
  });

  it('does not follow a redirect to a private address', async () => {
    for (const to of ['http://10.0.0.1/', 'http://169.254.169.254/latest/meta-data', 'http://[fd00:ec2::254]/']) {
      const redirect = `${at}/redirect?${query({ to })}`;
      assert.match(await fetched({ to: redirect }), /^403 true error code: 1003/, to);
    }
  });

  it("tells an origin's failures with Cloudflare's codes", async () => {
    assert.match(await fetched({ to: 'http://nobody.invalid/' }), /^530 false error code: 1016/);
    assert.match(await fetched({ to: 'http://127.0.0.1:1/' }), /^521 false error code: 521/);
    assert.match(await fetched({ to: `${at}/reset` }), /^520 false error code: 520/);
    assert.match(await fetched({ to: `https://127.0.0.1:${port}/` }), /^525 false error code: 525/);
  });

  it('streams: the origin has the head before the body begins, and each part at once', async () => {
    const asked = request({
      port: edge.http,
      host: '127.0.0.1',
      headers: { host },
      path: `/upload?${query({ to: `${at}/echo` })}`,
      method: 'POST',
      agent: false,
    });
    asked.flushHeaders();
    const before = seen.length;
    await eventually(() => seen.length > before && seen.at(-1)?.url === '/echo');
    asked.write('first');
    const [response] = (await once(asked, 'response')) as [IncomingMessage];
    assert.equal(String((await once(response, 'data'))[0]), 'first');
    asked.end('second');
    let rest = '';
    for await (const chunk of response) rest += chunk;
    assert.equal(rest, 'second');
  });

  it('decodes what the Worker reads, and passes on encoded what it does not', async () => {
    const asked = (path: string, encoding: string) =>
      edge.request(host, `${path}?${query({ to: `${at}/gzip` })}`, { headers: { 'accept-encoding': encoding } });
    const passed = (encoding: string) => asked('/pass', encoding);
    assert.equal((await asked('/read', 'gzip')).text, 'squeezed');
    assert.equal((await asked('/read', 'identity')).text, 'plain');
    const squeezed = await passed('gzip');
    assert.equal(squeezed.headers['content-encoding'], 'gzip');
    assert.equal(String(gunzipSync(squeezed.bytes)), 'squeezed');
    const plain = await passed('identity');
    assert.deepEqual([plain.headers['content-encoding'], plain.text], [undefined, 'plain']);
  });

  it('that is aborted ends at the origin too', async () => {
    const before = aborted;
    assert.match((await edge.request(host, `/abort?${query({ to: `${at}/never` })}`)).text, /^thrown: /);
    await eventually(() => aborted > before);
  });

  it('shows the origin the Worker and the hop, and neither cf object nor inner headers', async () => {
    await edge.request(host, `/pass?${query({ to: `${at}/headers` })}`, { headers: { 'x-mine': '1' } });
    const { headers } = seen.at(-1)!;
    assert.deepEqual([headers['cf-worker'], headers['cdn-loop'], headers['x-mine']], [host, 'selvedge; loops=1', '1']);
    const inner = Object.keys(headers).filter((name) => /^(selvedge|cf)-/.test(name));
    assert.deepEqual(inner, ['cf-worker']);
  });
});

describe('connect() of a Worker', () => {
  const echo = createTcpServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket)).listen(0, '127.0.0.1');
  after(() => echo.close());
  const tcp = async (to: string) => (await edge.request(host, `/tcp?${query({ to })}`)).text;

  it('reaches an allowed address', async () => {
    assert.equal(await tcp(`127.0.0.1:${(echo.address() as AddressInfo).port}`), 'over TCP');
  });
  it('does not reach port 25, private addresses, or this edge itself', async () => {
    for (const to of ['127.0.0.1:25', '10.0.0.1:80', `127.0.0.1:${edge.http}`, `127.0.0.1:${edge.https}`]) {
      assert.match(await tcp(to), /^thrown: /, to);
    }
  });
});

describe('a host of a zone', () => {
  const get = (name: string, path: string): Promise<Answer> => edge.request(name, path);
  before(async () => {
    await edge.selvedge(['zone', 'add', 'shop.example', '--account', edge.accountId]);
    for (const [name, url] of [
      ['shop.example', at],
      ['other.shop.example', at],
      ['dead.shop.example', 'http://127.0.0.1:1'],
      ['metadata.shop.example', 'http://169.254.169.254'],
      ['tls.shop.example', `https://127.0.0.1:${edge.https}`],
    ] as const) {
      const { code, stderr } = await edge.selvedge(['zone', 'origin', 'set', name, url]);
      assert.equal(code, 0, stderr);
    }
    await deploy(
      'before-shop',
      `export default { async fetch(request) {
        const response = await fetch(request);
        return new Response('before ' + (await response.text()), response);
      } }`,
      { routes: [{ pattern: '*shop.example/*', zone_name: 'shop.example' }] },
    );
    await deploy('api', 'export default { fetch: (request) => new Response("api at " + new URL(request.url).host) }', {
      routes: [{ pattern: 'api.shop.example', custom_domain: true }],
    });
  });

  it('is asked by the Worker before it for its origin, which was set, under its own name', async () => {
    assert.equal((await get('shop.example', '/a?b')).text, 'before origin of shop.example/a?b');
  });

  it('is asked by other Workers of the account through the Worker before it', async () => {
    assert.equal(await fetched({ to: 'http://shop.example/x' }), '200 false before origin of shop.example/x');
    assert.equal(await fetched({ to: 'https://shop.example/x' }), '200 false before origin of shop.example/x');
    assert.equal(await fetched({ to: 'http://shop.example:4444/x' }), '200 false before origin of shop.example/x');
  });

  it('that is a custom domain is that Worker', async () => {
    assert.equal(await fetched({ to: 'http://api.shop.example/' }), '200 false api at api.shop.example');
  });

  it('may be asked at the origin of another host of the account, which gets the Host of the URL', async () => {
    const values = { to: 'http://shop.example/y', override: 'other.shop.example' };
    assert.equal(await fetched(values), '200 false origin of shop.example/y');
    const dead = await fetched({ to: 'http://shop.example/y', override: 'dead.shop.example' });
    assert.match(dead, /^521 false error code: 521/);
    const elsewhere = await fetched({ to: 'http://shop.example/y', override: 'example.org' });
    assert.equal(elsewhere, '200 false before origin of shop.example/y', 'ignored');
  });

  it('has an origin that is checked like any other address', async () => {
    assert.match((await get('metadata.shop.example', '/')).text, /^before error code: 1002/);
    assert.match((await get('tls.shop.example', '/')).text, /^before error code: 1000/, 'this edge itself');
  });

  it('passes WebSockets to its origin', async () => {
    const socket = await edge.websocket('other.shop.example', '/ws').catch((error: Error) => error);
    assert.ok(socket instanceof Error, 'the Worker before it makes a new response');
    await deploy('sockets', 'export default { fetch: (request) => fetch(request) }', {
      routes: [{ pattern: 'other.shop.example/ws', zone_name: 'shop.example' }],
    });
    const open = await edge.websocket('other.shop.example', '/ws');
    open.send('hello');
    const [message] = await once(open, 'message');
    assert.equal(String(message), 'other.shop.example says hello');
    open.close();
    await once(open, 'close');
  });

  it('is where DNS says when its origin is removed', async () => {
    await edge.selvedge(['zone', 'origin', 'remove', 'dead.shop.example']);
    await eventually(async () => (await get('dead.shop.example', '/')).text.startsWith('before error code: 1016'));
  });
});

describe('a loop of Workers ends with 508 and 1019', () => {
  it('when the Worker passes its request on to itself', async () => {
    const loop = await deploy('loop', 'export default { fetch: (request) => fetch(request) }');
    const { status, text } = await edge.request(loop, '/');
    assert.deepEqual([status, text.split('\n')[0]], [508, 'error code: 1019']);
  });

  it('when the loop began outside: what the client says of hops counts', async () => {
    const headers = { 'cdn-loop': 'other; v=1, selvedge; loops=16' };
    const { status, text } = await edge.request(host, `/pass?${query({ to: `${at}/` })}`, { headers });
    assert.deepEqual([status, text.split('\n')[0]], [508, 'error code: 1019']);
  });

  it('when no header tells how deep it is', async () => {
    const silent = await deploy('silent-loop', 'export default { fetch: (request) => fetch(request.url) }');
    const { status, text } = await edge.request(silent, '/');
    assert.deepEqual([status, text.split('\n')[0]], [508, 'error code: 1019']);
    assert.equal((await edge.request(edge.host('welcome'), '/')).status, 200, 'others do not notice');
  });
});
