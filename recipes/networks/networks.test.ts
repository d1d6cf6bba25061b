import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { startEdge } from '../../test/harness.ts';
import { ALLOW_LOOPBACK, startOrigin } from '../../test/origin.ts';

const PAGE = `<html><head><link rel="stylesheet" href="//fonts.example/a.css"><link rel="icon" href="/icon.png">
<link rel="canonical" href="https://canonical.example/"><script src="https://cdn.example/x.js"></script></head>
<body><img src="https://cdn.example/p.png"><img src="data:image/png;base64,xx"><iframe src="https://gone.example/"></iframe>
<a href="https://link.example/">a link loads nothing</a></body></html>`;
const site = await startOrigin((request, response) => {
  response.statusCode = request.url === '/missing' ? 404 : 200;
  response.end(PAGE);
});
const addresses: Record<string, string> = { 'fonts.example': '192.0.2.1', 'cdn.example': '192.0.2.2' };
const resolver = await startOrigin((request, response) => {
  const data = addresses[new URL(request.url!, 'http://x').searchParams.get('name')!];
  response.end(
    JSON.stringify(
      data
        ? {
            Answer: [
              { type: 5, data: 'alias.example' },
              { type: 1, data },
            ],
          }
        : { Status: 3 },
    ),
  );
});
const owners = await startOrigin((request, response) => {
  const big = request.url?.startsWith('/192.0.2.');
  response.end(JSON.stringify(big ? { asn: 64496, name: 'Big Cloud' } : { asn: 64511, name: 'Home' }));
});
after(() => Promise.all([site, resolver, owners].map((origin) => origin.close())));
const edge = await startEdge({ args: ALLOW_LOOPBACK });
after(() => edge.close());
await edge.deployed(['deploy', '--var', `RESOLVER:${resolver.url}/resolve`, '--var', `NETWORKS:${owners.url}`], {
  cwd: import.meta.dirname,
});
const ask = (url: string) => edge.request(edge.host('networks'), `/?url=${encodeURIComponent(url)}`);

it('names the networks of all that a page loads, and of nothing that it only links to', async () => {
  assert.deepEqual((await ask(`${site.url}/`)).json(), {
    networks: [
      { asn: 64496, name: 'Big Cloud', hosts: ['cdn.example', 'fonts.example'] },
      { asn: 64511, name: 'Home', hosts: ['127.0.0.1'] },
    ],
    unknown: ['gone.example'],
  });
});

it('says what is wrong with a page', async () => {
  assert.deepEqual((await ask(`${site.url}/missing`)).json(), { error: 'the page answered 404' });
  assert.equal((await ask('javascript:alert(1)')).status, 400);
});
