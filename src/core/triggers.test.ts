import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type Bench, openBench, upload } from './testing.ts';

let bench: Bench;
let scripts: string;
let zone: string;
before(async () => {
  bench = await openBench();
  scripts = `/accounts/${bench.alice.id}/workers/scripts`;
  zone = (await bench.api('POST', '/zones', { name: 'example.com' })).result.id;
  await bench.api('POST', '/zones', { name: 'bob.example' }, bench.tokens.bob);
  for (const name of ['one', 'two']) await bench.api('PUT', `${scripts}/${name}`, upload());
});
after(() => bench.close());

const putRoutes = (script: string, routes: unknown[]) => bench.api('PUT', `${scripts}/${script}/routes`, routes);
const codeOf = async (answer: ReturnType<Bench['api']>) => (await answer).errors[0]?.code;
const patterns = (routes: { pattern: string }[]) => routes.map(({ pattern }) => pattern);

describe('routes', () => {
  const good = [
    'example.com/*',
    '*.example.com/*',
    '*example.com/a/*',
    '*-api.example.com',
    'https://www.example.com/path',
    'EXAMPLE.com/Case',
  ];
  for (const pattern of good) {
    it(`may be ${pattern}`, async () => assert.ok((await putRoutes('one', [{ pattern }])).success));
  }

  const bad: [string, number][] = [
    ['ex*mple.com/*', 10022],
    ['www.*.com/*', 10022],
    ['example.com/*/x', 10022],
    ['example.com/a?b=*', 10022],
    ['example.com:8080/*', 10022],
    ['user@example.com/*', 10022],
    ['*/*', 10022],
    ['example.com/a b', 10022],
    ['/only/path', 10022],
    ['other.example/*', 10082],
    ['bob.example/*', 10082],
    ['*ample.com/*', 10082],
    ['notexample.com/*', 10082],
  ];
  for (const [pattern, code] of bad) {
    it(`may not be ${pattern}`, async () => assert.equal(await codeOf(putRoutes('one', [{ pattern }])), code));
  }

  it('of a zone that is named must lie in it', async () => {
    assert.ok((await putRoutes('one', [{ pattern: 'example.com/z', zone_id: zone }])).success);
    assert.ok((await putRoutes('one', [{ pattern: 'example.com/z', zone_name: 'example.com' }])).success);
    assert.equal(await codeOf(putRoutes('one', [{ pattern: 'other.org/*', zone_name: 'example.com' }])), 10082);
    assert.equal(await codeOf(putRoutes('one', [{ pattern: 'bob.example/*', zone_name: 'bob.example' }])), 10082);
  });

  it('are replaced as a whole, or not at all when one belongs to another Worker', async () => {
    await putRoutes(
      'one',
      ['example.com/a', 'example.com/b'].map((pattern) => ({ pattern })),
    );
    assert.equal(await codeOf(putRoutes('two', [{ pattern: 'example.com/new' }, { pattern: 'example.com/a' }])), 10020);
    assert.deepEqual((await bench.api('GET', `${scripts}/two/routes`)).result, []);
    const answer = await putRoutes('one', [{ pattern: 'example.com/b' }, 'example.com/c']);
    assert.deepEqual(patterns(answer.result), ['example.com/b', 'example.com/c']);
    assert.deepEqual(patterns((await bench.api('GET', `/zones/${zone}/workers/routes`)).result), [
      'example.com/b',
      'example.com/c',
    ]);
    await putRoutes('one', []);
    assert.deepEqual((await bench.api('GET', `${scripts}/one/routes`)).result, []);
  });

  it('can be made, changed and deleted one by one, also without a Worker', async () => {
    const routes = `/zones/${zone}/workers/routes`;
    const made = await bench.api('POST', routes, { pattern: 'example.com/single', script: 'one' });
    assert.equal(made.result.script, 'one');
    assert.equal(await codeOf(bench.api('POST', routes, { pattern: 'example.com/single', script: 'two' })), 10020);
    assert.equal(await codeOf(bench.api('POST', routes, { pattern: 'example.com/x', script: 'nobody' })), 10007);
    assert.equal(await codeOf(bench.api('POST', routes, { pattern: 'bob.example/x', script: 'one' })), 10082);
    const changed = await bench.api('PUT', `${routes}/${made.result.id}`, { pattern: 'example.com/moved' });
    assert.deepEqual([changed.result.id, changed.result.script], [made.result.id, undefined]);
    assert.deepEqual(patterns((await bench.api('GET', routes)).result), ['example.com/moved']);
    assert.ok((await bench.api('DELETE', `${routes}/${made.result.id}`)).success);
    assert.equal(await codeOf(bench.api('DELETE', `${routes}/${made.result.id}`)), 10009);
  });
});

describe('custom domains', () => {
  const records = (script: string, hostnames: string[], override = true) =>
    bench.api('PUT', `${scripts}/${script}/domains/records`, {
      override_existing_origin: override,
      origins: hostnames.map((hostname) => ({ hostname })),
    });

  it('are told before they are put, put as a whole, and move only when that is wanted', async () => {
    const changes = await bench.api('POST', `${scripts}/one/domains/changeset?replace_state=true`, [
      { hostname: 'a.example.com' },
    ]);
    assert.deepEqual(changes.result, {
      added: [{ hostname: 'a.example.com' }],
      removed: [],
      updated: [],
      conflicting: [],
    });
    await records('one', ['A.example.com', 'b.example.com']);
    assert.equal(await codeOf(records('two', ['a.example.com'], false)), 100116);
    const taken = await bench.api('POST', `${scripts}/two/domains/changeset?replace_state=true`, [
      { hostname: 'a.example.com' },
    ]);
    assert.equal(taken.result.updated[0].modified, true);
    assert.ok((await records('two', ['a.example.com'])).success);
    const all = await bench.api('GET', `/accounts/${bench.alice.id}/workers/domains`);
    assert.deepEqual(
      all.result.map(({ hostname, service }: any) => [hostname, service]),
      [
        ['a.example.com', 'two'],
        ['b.example.com', 'one'],
      ],
    );
    assert.deepEqual(
      (await bench.api('GET', `/accounts/${bench.alice.id}/workers/domains`, undefined, bench.tokens.bob)).errors[0]!
        .code,
      9109,
    );
    await records('one', []);
    await records('two', []);
    assert.deepEqual((await bench.api('GET', `/accounts/${bench.alice.id}/workers/domains`)).result, []);
  });

  for (const hostname of [
    'bob.example',
    'x.other.org',
    '*.example.com',
    'one.alice.workers.localhost',
    '127.0.0.1',
    'a..example.com',
  ]) {
    it(`cannot be ${hostname}`, async () => assert.equal(await codeOf(records('one', [hostname])), 10082));
  }
});

describe('cron triggers', () => {
  const put = (crons: string[]) =>
    bench.api(
      'PUT',
      `${scripts}/one/schedules`,
      crons.map((cron) => ({ cron })),
    );

  it('are replaced as a whole; one that stays keeps its date', async () => {
    const first = (await put(['*/5 * * * *', '0 0 L * *'])).result.schedules;
    const second = (await put(['0 12 * * 2#1', '*/5 * * * *'])).result.schedules;
    assert.deepEqual(
      second.map(({ cron }: { cron: string }) => cron),
      ['0 12 * * 2#1', '*/5 * * * *'],
    );
    assert.equal(second[1].created_on, first[0].created_on);
    assert.deepEqual((await put([])).result.schedules, []);
  });

  for (const cron of ['* * * *', '* * * * * *', '60 * * * *', '0 0 31 2 *', '0 0 * * 0', '0 0 * * 8', 'hourly']) {
    it(`cannot be ${JSON.stringify(cron)}`, async () => assert.equal(await codeOf(put([cron])), 10100));
  }

  it('are at most 250', async () => {
    assert.equal(
      await codeOf(put(Array.from({ length: 251 }, (_, index) => `${index % 60} ${Math.floor(index / 60)} * * *`))),
      10072,
    );
  });
});

describe('the host under the workers domain', () => {
  it('is switched with its previews', async () => {
    const subdomain = `${scripts}/one/subdomain`;
    const set = async (body: object) => (await bench.api('POST', subdomain, body)).result;
    assert.deepEqual(await set({ enabled: true }), { enabled: true, previews_enabled: true });
    assert.deepEqual(await set({ enabled: false, previews_enabled: true }), { enabled: false, previews_enabled: true });
    const worker = (await bench.api('GET', `/accounts/${bench.alice.id}/workers/workers/one`)).result;
    assert.deepEqual(worker.subdomain, {
      enabled: false,
      previews_enabled: true,
      url: 'https://one.alice.workers.localhost',
      preview_url_suffix: '-one.alice.workers.localhost',
    });
    assert.deepEqual((await bench.api('DELETE', subdomain)).result, { enabled: false, previews_enabled: false });
    assert.equal((await bench.api('GET', `/accounts/${bench.alice.id}/workers/subdomain`)).result.subdomain, 'alice');
  });
});
