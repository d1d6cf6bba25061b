import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { startEdge } from '../../test/harness.ts';
import { ALLOW_LOOPBACK, startOrigin } from '../../test/origin.ts';

const legacy = await startOrigin((request, response) => {
  response.setHeader('set-cookie', ['session=1; Domain=legacy.example; Path=/; HttpOnly', 'b=2; Path=/']);
  if (request.url === '/old') {
    response.writeHead(302, { location: `${legacy.url}/new?a=1` }).end();
    return;
  }
  response.setHeader('content-type', request.url === '/data' ? 'application/json' : 'text/html');
  response.end(
    `<a href="${legacy.url}/shop">shop</a><img src="${legacy.url}/i.png"><a href="https://other.example/">o</a>`,
  );
});
const cloud = await startOrigin((request, response) => {
  let body = '';
  request.on('data', (chunk: Buffer) => {
    body += chunk;
  });
  request.on('end', () => response.end(`cloud ${request.method} ${request.url} ${body}`));
});
after(() => Promise.all([legacy.close(), cloud.close()]));
const edge = await startEdge({ args: ALLOW_LOOPBACK });
after(() => edge.close());
const host = edge.host('migration-patch');
const site = `http://${host}`;
await edge.deployed(['deploy', '--var', `LEGACY:${legacy.url}`, '--var', `CLOUD:${cloud.url}`], {
  cwd: import.meta.dirname,
});

it('answers moved paths from the cloud, with method, query and body', async () => {
  const { text } = await edge.request(host, '/account/me?x=1', { method: 'POST', body: 'hello' });
  assert.equal(text, 'cloud POST /account/me?x=1 hello');
  assert.equal((await edge.request(host, '/search')).text, 'cloud GET /search ');
});

it('answers the rest from the legacy server, with its links mended', async () => {
  const { text } = await edge.request(host, '/accounting');
  assert.equal(text, `<a href="${site}/shop">shop</a><img src="${site}/i.png"><a href="https://other.example/">o</a>`);
});

it('mends redirects and cookies', async () => {
  const { status, headers } = await edge.request(host, '/old');
  assert.equal(status, 302);
  assert.equal(headers.location, `${site}/new?a=1`);
  assert.deepEqual(headers['set-cookie'], ['session=1; Path=/; HttpOnly', 'b=2; Path=/']);
});

it('leaves what is no page as it is', async () => {
  assert.match((await edge.request(host, '/data')).text, new RegExp(`href="${legacy.url}`));
});
