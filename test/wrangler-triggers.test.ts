/** Routes, custom domains, workers.dev, cron triggers and `triggers deploy`; and `delete`, which takes all of them along. */
import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { eventually, startEdge } from './harness.ts';

const edge = await startEdge();
after(() => edge.close());
const DATE = '2026-11-01';
const says = (text: string) => ({
  'index.js': `export default { fetch(r) { return new Response('${text} ' + new URL(r.url).host) } }`,
});
const deploy = async (config: Record<string, unknown>, files: Record<string, string>) => {
  const cwd = await edge.project({ main: 'index.js', compatibility_date: DATE, ...config }, files);
  await edge.deployed(['deploy'], { cwd });
  return cwd;
};

// Deployed first: it fires while the other tests run.
const ticking =
  'let seen = []; export default { scheduled(c) { seen.push([c.cron, c.scheduledTime, Date.now()]) }, fetch() { return Response.json(seen) } }';
await deploy({ name: 'ticking', triggers: { crons: ['* * * * *', '0 0 1 1 *'] } }, { 'index.js': ticking });

it('a route needs a zone of the account', async () => {
  const cwd = await edge.project(
    { name: 'www', main: 'index.js', compatibility_date: DATE, routes: ['www.example.com/*'] },
    says('www'),
  );
  const { code } = await edge.wrangler(['deploy'], { cwd });
  assert.notEqual(code, 0);
  assert.equal((await edge.selvedge(['zone', 'add', 'example.com'])).code, 0);
});

it('routes lead to their Worker, the most specific one first', async () => {
  await deploy(
    {
      name: 'www',
      routes: [
        { pattern: 'www.example.com/*', zone_name: 'example.com' },
        { pattern: '*.example.com/*', zone_name: 'example.com' },
      ],
    },
    says('www'),
  );
  await deploy(
    { name: 'docs', routes: [{ pattern: 'www.example.com/docs/*', zone_name: 'example.com' }] },
    says('docs'),
  );
  assert.equal((await edge.request('www.example.com', '/')).text, 'www www.example.com');
  assert.equal((await edge.request('other.example.com', '/docs/x')).text, 'www other.example.com');
  assert.equal((await edge.request('www.example.com', '/docs/x')).text, 'docs www.example.com');
  assert.equal((await edge.request('example.com', '/')).status, 404);
});

it('a Worker with routes only is not at workers.dev', async () => {
  assert.equal((await edge.request(edge.host('docs'))).status, 404);
});

it('a route of another Worker is refused', async () => {
  const cwd = await edge.project(
    {
      name: 'thief',
      main: 'index.js',
      compatibility_date: DATE,
      routes: [{ pattern: 'www.example.com/docs/*', zone_name: 'example.com' }],
    },
    says('thief'),
  );
  const { code, stdout, stderr } = await edge.wrangler(['deploy'], { cwd });
  assert.notEqual(code, 0);
  assert.match(stdout + stderr, /docs/);
  assert.equal((await edge.request('www.example.com', '/docs/x')).text, 'docs www.example.com');
});

it('a custom domain belongs to its Worker, with a certificate', async () => {
  await deploy({ name: 'shop', routes: [{ pattern: 'shop.example.com', custom_domain: true }] }, says('shop'));
  assert.equal((await edge.request('shop.example.com', '/any/path')).text, 'shop shop.example.com');
  assert.equal((await edge.tls('shop.example.com', '/', { http2: true })).text, 'shop shop.example.com');
});

it('triggers deploy changes the routes without a new version', async () => {
  const cwd = await edge.project(
    {
      name: 'docs',
      main: 'index.js',
      compatibility_date: DATE,
      routes: [{ pattern: 'www.example.com/manual/*', zone_name: 'example.com' }],
    },
    says('not uploaded'),
  );
  await edge.deployed(['triggers', 'deploy'], { cwd });
  assert.equal((await edge.request('www.example.com', '/manual/x')).text, 'docs www.example.com');
  assert.equal((await edge.request('www.example.com', '/docs/x')).text, 'www www.example.com');
});

it('a wrong cron expression is refused', async () => {
  const cwd = await edge.project(
    { name: 'cron', main: 'index.js', compatibility_date: DATE, triggers: { crons: ['61 * * * *'] } },
    says('x'),
  );
  const { code, stdout, stderr } = await edge.wrangler(['deploy'], { cwd });
  assert.notEqual(code, 0);
  assert.match(stdout + stderr, /61/);
});

it('cron triggers fire, once a minute', async () => {
  const seen = await eventually(async () => {
    const list = (await edge.request(edge.host('ticking'))).json<[string, number, number][]>();
    return list.length > 0 && list;
  }, 75_000);
  const [cron, scheduledTime, at] = seen[0]!;
  assert.equal(cron, '* * * * *');
  assert.equal(scheduledTime % 60_000, 0);
  assert.ok(at >= scheduledTime - 50 && at - scheduledTime < 30_000);
  assert.equal(new Set(seen.map(([, time]) => time)).size, seen.length);
});

it('delete takes the Worker and its triggers away', async () => {
  const cwd = await edge.project({ name: 'shop', main: 'index.js', compatibility_date: DATE }, says('x'));
  await edge.deployed(['delete', '--name', 'shop'], { cwd });
  assert.equal((await edge.request('shop.example.com')).text.includes('shop shop'), false);
  assert.equal(
    (await edge.api(`/accounts/${edge.accountId}/workers/scripts/shop/deployments`)).body.errors[0].code,
    10007,
  );
  const { body } = await edge.api(`/accounts/${edge.accountId}/workers/domains`);
  assert.deepEqual(body.result, []);
});
