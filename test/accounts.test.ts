/** Two accounts on one edge: neither sees, changes or calls what belongs to the other. Tokens end when they are revoked or expire. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { startEdge } from './harness.ts';

const edge = await startEdge();
after(() => edge.close());
let other: { id: string; token: string };

before(async () => {
  const made = await edge.selvedge(['account', 'create', '--name', 'Other', '--subdomain', 'other']);
  assert.equal(made.code, 0, made.stderr);
  const id = /[0-9a-f]{32}/.exec(made.stdout)![0];
  const token = await edge.selvedge(['token', 'create', '--account', id, '--name', 'theirs']);
  other = { id, token: token.stdout.trim().split('\n').at(-1)! };
  const cwd = await edge.project(
    { name: 'private', main: 'index.js', compatibility_date: '2026-11-01' },
    {
      'index.js':
        'export class Api extends (class {}) {}; export default { fetch() { return new Response("mine") } }'.replace(
          'export class Api extends (class {}) {}; ',
          '',
        ),
    },
  );
  await edge.deployed(['deploy'], { cwd });
  await edge.selvedge(['zone', 'add', 'example.com', '--account', edge.accountId]);
});

describe('another account', () => {
  const paths = () => [
    '/workers/scripts',
    '/workers/scripts/private',
    '/workers/scripts/private/settings',
    '/workers/scripts/private/versions',
    '/workers/scripts/private/deployments',
    '/workers/scripts/private/secrets',
    '/workers/scripts/private/tails',
    '/workers/services/private',
    '/workers/workers/private',
    '/workers/domains',
  ];

  it('is refused at every path of this account', async () => {
    for (const path of paths()) {
      const { status, body } = await edge.api(`/accounts/${edge.accountId}${path}`, { token: other.token });
      assert.equal(status, 403, path);
      assert.equal(body.errors[0].code, 9109, path);
    }
    for (const [method, path] of [
      ['DELETE', '/workers/scripts/private'],
      ['DELETE', '/workers/services/private'],
      ['POST', '/workers/scripts/private/tails'],
    ] as const) {
      assert.equal(
        (await edge.api(`/accounts/${edge.accountId}${path}`, { method, token: other.token, body: {} })).status,
        403,
        path,
      );
    }
    assert.equal((await edge.request(edge.host('private'))).text, 'mine');
  });

  it('finds nothing of it under its own', async () => {
    for (const path of paths().filter((path) => path.includes('private'))) {
      const { status } = await edge.api(`/accounts/${other.id}${path}`, { token: other.token });
      assert.equal(status, 404, path);
    }
    assert.deepEqual((await edge.api(`/accounts/${other.id}/workers/scripts`, { token: other.token })).body.result, []);
    assert.deepEqual((await edge.api('/zones?name=example.com', { token: other.token })).body.result, []);
    const accounts = (await edge.api('/accounts', { token: other.token })).body.result;
    assert.deepEqual(
      accounts.map(({ id }: { id: string }) => id),
      [other.id],
    );
  });

  it('cannot bind to its Workers', async () => {
    const cwd = await edge.project(
      {
        name: 'caller',
        main: 'index.js',
        compatibility_date: '2026-11-01',
        services: [{ binding: 'X', service: 'private' }],
      },
      { 'index.js': 'export default { fetch(r, env) { return env.X.fetch(r) } }' },
    );
    const env = { CLOUDFLARE_API_TOKEN: other.token, CLOUDFLARE_ACCOUNT_ID: other.id };
    const { code, stdout, stderr } = await edge.wrangler(['deploy'], { cwd, env });
    assert.notEqual(code, 0);
    assert.match(stdout + stderr, /private/);
  });

  it('cannot take names in its zone', async () => {
    for (const name of ['example.com', 'sub.example.com'])
      assert.notEqual((await edge.selvedge(['zone', 'add', name, '--account', other.id])).code, 0, name);
    const cwd = await edge.project(
      {
        name: 'thief',
        main: 'index.js',
        compatibility_date: '2026-11-01',
        routes: [{ pattern: 'example.com/*', zone_name: 'example.com' }],
      },
      { 'index.js': 'export default { fetch() { return new Response("stolen") } }' },
    );
    const env = { CLOUDFLARE_API_TOKEN: other.token, CLOUDFLARE_ACCOUNT_ID: other.id };
    assert.notEqual((await edge.wrangler(['deploy'], { cwd, env })).code, 0);
    assert.equal((await edge.request('example.com')).status, 404);
  });

  it('may have a Worker of the same name', async () => {
    const cwd = await edge.project(
      { name: 'private', main: 'index.js', compatibility_date: '2026-11-01' },
      { 'index.js': 'export default { fetch() { return new Response("theirs") } }' },
    );
    await edge.deployed(['deploy'], {
      cwd,
      env: { CLOUDFLARE_API_TOKEN: other.token, CLOUDFLARE_ACCOUNT_ID: other.id },
    });
    assert.equal((await edge.request('private.other.workers.localhost')).text, 'theirs');
    assert.equal((await edge.request(edge.host('private'))).text, 'mine');
  });
});

describe('a token', () => {
  for (const [what, token, status, code] of [
    ['that is missing', null, 400, 9106],
    ['that is unknown', 'a'.repeat(43), 403, 10000],
    ['that is malformed', 'a b', 400, 6003],
  ] as const) {
    it(`${what} gets ${code}`, async () => {
      const answer = await edge.api('/accounts', { token });
      assert.equal(answer.status, status);
      assert.equal(answer.body.errors[0].code, code);
    });
  }

  it('ends when it is revoked', async () => {
    const made = await edge.selvedge(['token', 'create', '--account', other.id, '--name', 'short']);
    const token = made.stdout.trim().split('\n').at(-1)!;
    const id = /[0-9a-f]{32}/.exec(made.stdout)![0];
    assert.equal((await edge.api('/accounts', { token })).status, 200);
    assert.equal((await edge.selvedge(['token', 'revoke', id])).code, 0);
    assert.equal((await edge.api('/accounts', { token })).body.errors[0].code, 10000);
  });

  it('is kept as a hash only', async () => {
    const { stdout } = await edge.selvedge(['token', 'list', '--json']);
    assert.ok(!stdout.includes(other.token));
  });
});
