import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { createToken, listTokens, revokeToken } from './accounts.ts';
import { type Bench, openBench, upload } from './testing.ts';

let bench: Bench;
before(async () => {
  bench = await openBench();
});
after(() => bench.close());

describe('tokens', () => {
  it('opens the account that it belongs to', async () => {
    const verified = await bench.api('GET', '/user/tokens/verify');
    assert.equal(verified.result.status, 'active');
    const accounts = await bench.api('GET', '/accounts?page=1');
    assert.deepEqual(
      accounts.result.map(({ id }: { id: string }) => id),
      [bench.alice.id],
    );
    assert.deepEqual((await bench.api('GET', '/accounts?page=2')).result, [], 'clients ask until a page is empty');
    const memberships = await bench.api('GET', '/memberships?page=1');
    assert.equal(memberships.result[0].account.id, bench.alice.id);
  });

  it('is kept as a hash only', async () => {
    const all = JSON.stringify(await bench.ledger.list(''));
    assert.ok(!all.includes(bench.tokens.alice));
  });

  const refusals: [string, Record<string, string>, string, number, number][] = [
    ['missing', {}, '/accounts', 400, 9106],
    ['malformed', { authorization: 'Basic YTpi' }, '/accounts', 400, 6003],
    ['of a wrong form', { authorization: 'Bearer ü' }, '/accounts', 400, 6003],
    ['unknown', { authorization: `Bearer ${'x'.repeat(43)}` }, '/accounts', 403, 10000],
    ['unknown, when verified', { authorization: `Bearer ${'x'.repeat(43)}` }, '/user/tokens/verify', 401, 1000],
    ['only an API key', { 'x-auth-key': 'k', 'x-auth-email': 'e@example.com' }, '/accounts', 400, 9106],
  ];
  for (const [what, headers, path, status, code] of refusals) {
    it(`that is ${what} gets ${status} and code ${code}`, async () => {
      const response = await fetch(bench.base + path, { headers });
      const body = (await response.json()) as any;
      assert.deepEqual([response.status, body.success, body.errors[0].code], [status, false, code]);
      if (code === 6003) assert.equal(body.errors[0].error_chain[0].code, 6111);
    });
  }

  it('opens nothing after it is revoked or has expired', async () => {
    const make = async (expiresOn: string | null) =>
      createToken(bench.ledger, { accountId: bench.alice.id, name: 'short', expiresOn });
    const revoked = await make(null);
    assert.equal((await bench.api('GET', '/accounts', undefined, revoked.value)).status, 200);
    await revokeToken(bench.ledger, revoked.token.id);
    const expired = await make('2020-01-01T00:00:00Z');
    for (const { value } of [revoked, expired]) {
      assert.equal((await bench.api('GET', '/accounts', undefined, value)).errors[0]!.code, 10000);
    }
    assert.ok((await listTokens(bench.ledger, bench.alice.id)).length >= 3);
  });
});

describe('an account', () => {
  it('never sees another: the answer is the same whether that exists or not', async () => {
    await bench.api('PUT', `/accounts/${bench.bob.id}/workers/scripts/private`, upload(), bench.tokens.bob);
    const zone = await bench.api('POST', '/zones', { name: 'bob.example' }, bench.tokens.bob);
    const paths: [string, string, unknown?][] = [
      ['GET', '/workers/scripts'],
      ['GET', '/workers/scripts/private'],
      ['GET', '/workers/scripts/private/settings'],
      ['GET', '/workers/scripts/private/secrets'],
      ['PUT', '/workers/scripts/private/secrets', { name: 'A', type: 'secret_text', text: 'x' }],
      ['GET', '/workers/scripts/private/versions'],
      ['GET', '/workers/scripts/private/deployments'],
      ['POST', '/workers/scripts/private/tails', {}],
      ['GET', '/workers/services/private'],
      ['DELETE', '/workers/services/private?force=true'],
      ['GET', '/workers/workers/private'],
      ['GET', '/workers/subdomain'],
      ['GET', '/workers/domains'],
    ];
    for (const [method, path, body] of paths) {
      const foreign = await bench.api(method, `/accounts/${bench.bob.id}${path}`, body);
      const nobody = await bench.api(method, `/accounts/${'0'.repeat(32)}${path}`, body);
      assert.deepEqual([foreign.status, foreign.errors[0]!.code], [403, 9109], `${method} ${path}`);
      assert.deepEqual(foreign, nobody, `${method} ${path}`);
    }
    for (const path of [`/zones/${zone.result.id}`, `/zones/${zone.result.id}/workers/routes`]) {
      assert.deepEqual(
        [(await bench.api('GET', path)).status, (await bench.api('GET', path)).errors[0]!.code],
        [404, 7003],
      );
    }
    assert.deepEqual((await bench.api('GET', '/zones?name=bob.example')).result, []);
    assert.equal(
      (await bench.api('GET', `/accounts/${bench.alice.id}/workers/scripts/private`)).errors[0]!.code,
      10007,
    );
    const bound = upload({ bindings: [{ name: 'B', type: 'service', service: 'private' }] });
    assert.equal(
      (await bench.api('PUT', `/accounts/${bench.alice.id}/workers/scripts/thief`, bound)).errors[0]!.code,
      10143,
    );
  });

  it('cannot take a zone that overlaps with a zone of another, or the workers domain', async () => {
    const refused: [string, number][] = [
      ['bob.example', 1061],
      ['www.bob.example', 1061],
      ['x.workers.localhost', 1003],
      ['localhost', 1003],
      ['10.0.0.1', 1003],
      ['bad name.example', 1003],
    ];
    for (const [name, code] of refused) {
      assert.equal((await bench.api('POST', '/zones', { name })).errors[0]?.code, code, name);
    }
    await bench.api('POST', '/zones', { name: 'deep.carol.example' }, bench.tokens.bob);
    assert.equal((await bench.api('POST', '/zones', { name: 'carol.example' })).errors[0]!.code, 1061);
    const foreign = await bench.api('POST', '/zones', { name: 'new.example', account: { id: bench.bob.id } });
    assert.equal(foreign.errors[0]!.code, 9109);
  });

  it('sees its own usage and isolate processes only', async () => {
    bench.usage.add(bench.alice.id, 'mine', { cpuMs: 12, requests: 3 });
    bench.usage.add(bench.bob.id, 'theirs', { cpuMs: 34 });
    const response = await fetch(`${bench.origin}/selvedge/usage`, {
      headers: { authorization: `Bearer ${bench.tokens.alice}` },
    });
    const { result } = (await response.json()) as any;
    assert.deepEqual(
      result.rows.map(({ script, cpu_ms, requests }: any) => [script, cpu_ms, requests]),
      [['mine', 12, 3]],
    );
    assert.equal(result.totals.cpu_ms, 12);
    assert.equal((await fetch(`${bench.origin}/selvedge/usage`)).status, 400);
  });
});

describe('requests', () => {
  it('may have doubled slashes, as a base URL with a slash at its end gives them', async () => {
    assert.equal((await bench.api('GET', '//user/tokens/verify')).status, 200);
  });

  it('to unknown paths get 404 and 7003', async () => {
    const answer = await bench.api('GET', '/nothing/here');
    assert.deepEqual([answer.status, answer.errors[0]!.code], [404, 7003]);
    assert.match(
      answer.errors[0]!.message,
      /^Could not route to \/nothing\/here, perhaps your object identifier is invalid\?$/,
    );
  });

  it('with a body that is too large or no JSON are refused', async () => {
    const path = `/accounts/${bench.alice.id}/workers/scripts/w/schedules`;
    const put = async (body: string) =>
      (
        await fetch(bench.base + path, {
          method: 'PUT',
          body,
          headers: { authorization: `Bearer ${bench.tokens.alice}` },
        })
      ).json() as any;
    assert.equal((await put('{')).errors[0].code, 10001);
    assert.equal((await put('')).errors[0].code, 10001);
    assert.equal((await put(JSON.stringify([{ cron: 'x'.repeat(2 ** 20) }]))).errors[0].code, 10003);
  });

  it('are described in /openapi.json, from the routes that are served', async () => {
    const document = (await (await fetch(`${bench.origin}/openapi.json`)).json()) as any;
    assert.equal(document.openapi, '3.1.0');
    const paths = Object.keys(document.paths);
    assert.ok(paths.includes('/client/v4/accounts/{account_id}/workers/scripts/{script_name}/versions'));
    assert.ok(paths.includes('/selvedge/status'));
    for (const path of paths) {
      for (const method of Object.keys(document.paths[path])) {
        const real = (path.startsWith('/client') ? bench.origin : bench.origin) + path.replace(/\{\w+\}/g, 'x');
        const body = (await (await fetch(real, { method: method.toUpperCase() })).json()) as any;
        assert.notEqual(body.errors[0]?.code, 7003, `${method} ${path} is described but not served`);
      }
    }
  });
});
