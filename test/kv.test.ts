/** KV with the real wrangler and real Workers: the binding's methods, and what it says when something is wrong. */
import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { startEdge } from './harness.ts';
import { CALLER, openKvBench } from './kv-bench.ts';

const { edge, cwd, id, call, kv } = await openKvBench();
after(() => edge.close());

describe('wrangler kv', () => {
  it('creates, lists, renames and deletes namespaces', async () => {
    const created = await edge.deployed(['kv', 'namespace', 'create', 'other'], { cwd });
    const other = /"id": "([0-9a-f]{32})"/.exec(created)![1]!;
    const titles = async () =>
      (JSON.parse(await edge.deployed(['kv', 'namespace', 'list'], { cwd })) as { title: string }[]).map(
        ({ title }) => title,
      );
    assert.deepEqual(await titles(), ['first', 'other']);
    await edge.deployed(['kv', 'namespace', 'rename', '--namespace-id', other, '--new-name', 'renamed'], { cwd });
    assert.deepEqual(await titles(), ['first', 'renamed']);
    const twice = await edge.wrangler(['kv', 'namespace', 'create', 'first'], { cwd });
    assert.match(twice.stdout + twice.stderr, /already exists/);
    await edge.deployed(['kv', 'namespace', 'delete', '--namespace-id', other, '-y'], { cwd });
    assert.deepEqual(await titles(), ['first']);
  });

  it('puts, gets, lists and deletes keys of any name, with metadata and expiration', async () => {
    const name = 'a/b c?ü&=%20';
    await kv('key', 'put', name, 'grüße', '--namespace-id', id, '--metadata', '{"by":"wrangler"}', '--ttl', '3600');
    assert.equal((await kv('key', 'get', name, '--namespace-id', id, '--text')).trim(), 'grüße');
    const [listed] = JSON.parse(await kv('key', 'list', '--namespace-id', id, '--prefix', 'a/')) as any[];
    assert.deepEqual([listed.name, listed.metadata], [name, { by: 'wrangler' }]);
    assert.ok(Math.abs(listed.expiration - Date.now() / 1000 - 3600) < 60);
    assert.deepEqual((await call('getWithMetadata', [name])).ok.metadata, { by: 'wrangler' });
    await kv('key', 'delete', name, '--namespace-id', id);
    assert.equal((await call('get', [name])).ok, null);
    const absent = await edge.wrangler(['kv', 'key', 'get', name, '--namespace-id', id, '--remote'], { cwd });
    assert.notEqual(absent.code, 0);
  });

  it('puts a file of bytes and gets the same bytes', async () => {
    const bytes = Buffer.from(Array.from({ length: 70_000 }, (_, i) => (i * 7) % 256));
    await writeFile(join(cwd, 'bytes'), bytes);
    await kv('key', 'put', 'file', '--path', 'bytes', '--namespace-id', id);
    const { ok } = await call('get', ['file', 'arrayBuffer']);
    assert.ok(Buffer.from(ok.bytes).equals(bytes));
    await call('put', ['back', ''], { bytes: [0, 255, 128, 10] });
    await edge.deployed(['kv', 'key', 'get', 'back', '--namespace-id', id, '--remote'], { cwd });
  });

  it('puts, gets and deletes in bulk', async () => {
    const pairs = Array.from({ length: 2_500 }, (_, i) => ({
      key: `bulk/${String(i).padStart(4, '0')}`,
      value: i === 7 ? Buffer.from([255, 0]).toString('base64') : `v${i}`,
      ...(i === 7 && { base64: true }),
      ...(i === 8 && { metadata: { n: 8 } }),
    }));
    await writeFile(join(cwd, 'bulk.json'), JSON.stringify(pairs));
    await kv('bulk', 'put', 'bulk.json', '--namespace-id', id);
    assert.equal(JSON.parse(await kv('key', 'list', '--namespace-id', id, '--prefix', 'bulk/')).length, 2_500);
    assert.deepEqual((await call('get', ['bulk/0007', 'arrayBuffer'])).ok.bytes, [255, 0]);
    assert.deepEqual((await call('getWithMetadata', ['bulk/0008'])).ok, {
      value: 'v8',
      metadata: { n: 8 },
      cacheStatus: null,
    });
    await writeFile(join(cwd, 'keys.json'), JSON.stringify(['bulk/0001', 'bulk/0002', 'nope']));
    const got = await kv('bulk', 'get', 'keys.json', '--namespace-id', id);
    assert.match(got, /"bulk\/0001":[\s\S]*v1/);
    await writeFile(join(cwd, 'keys.json'), JSON.stringify(pairs.map(({ key }) => key)));
    await kv('bulk', 'delete', 'keys.json', '--namespace-id', id, '-f');
    assert.equal(JSON.parse(await kv('key', 'list', '--namespace-id', id, '--prefix', 'bulk/')).length, 0);
  });

  it('deploy refuses a namespace that is not there', async () => {
    const project = await edge.project(
      {
        name: 'bad',
        main: 'index.js',
        compatibility_date: '2026-11-01',
        kv_namespaces: [{ binding: 'KV', id: '0'.repeat(32) }],
      },
      { 'index.js': CALLER },
    );
    const { code, stdout, stderr } = await edge.wrangler(['deploy'], { cwd: project });
    assert.notEqual(code, 0);
    assert.match(stdout + stderr, /KV namespace '0{32}' is not valid.*10041/s);
  });

  it('deploy creates a namespace that has no id', async () => {
    const project = await edge.project(
      { name: 'auto', main: 'index.js', compatibility_date: '2026-11-01', kv_namespaces: [{ binding: 'KV' }] },
      { 'index.js': CALLER },
    );
    await edge.deployed(['deploy'], { cwd: project });
    await call('put', ['k', 'v'], {}, edge.host('auto'));
    assert.equal((await call('get', ['k'], {}, edge.host('auto'))).ok, 'v');
    assert.equal((await call('get', ['k'])).ok, null);
  });
});

describe('the binding', () => {
  it('gives each type of value, from the store and from memory', async () => {
    await call('put', ['typed', '{"a":[1,"ü"]}'], {});
    // The first reads come from the store, all others from memory.
    for (let i = 0; i < 3; i++) {
      assert.equal((await call('get', ['typed'])).ok, '{"a":[1,"ü"]}');
      assert.equal((await call('get', ['typed', 'text'])).ok, '{"a":[1,"ü"]}');
      assert.deepEqual((await call('get', ['typed', 'json'])).ok, { a: [1, 'ü'] });
      assert.deepEqual((await call('get', ['typed', { type: 'json', cacheTtl: 60 }])).ok, { a: [1, 'ü'] });
      assert.deepEqual((await call('get', ['typed', 'arrayBuffer'])).ok.bytes, [...Buffer.from('{"a":[1,"ü"]}')]);
      assert.deepEqual((await call('get', ['typed', 'stream'])).ok, { stream: '{"a":[1,"ü"]}' });
    }
    assert.equal((await call('get', ['absent'])).ok, null);
    assert.equal((await call('get', ['absent', 'json'])).ok, null);
    assert.deepEqual((await call('getWithMetadata', ['absent'])).ok.value, null);
    await call('put', ['nojson', '{']);
    for (let i = 0; i < 2; i++) assert.equal((await call('get', ['nojson', 'json'])).name, 'SyntaxError');
  });

  it('keeps bytes as they are, whether they are text or not', async () => {
    for (const bytes of [[0xef, 0xbb, 0xbf, 0x61], [0xff, 0xfe, 0], [], [0xc3]]) {
      await call('put', ['bytes', ''], { bytes });
      for (let i = 0; i < 2; i++) assert.deepEqual((await call('get', ['bytes', 'arrayBuffer'])).ok.bytes, bytes);
    }
  });

  it('puts streams, deletes, and deletes what is not there', async () => {
    await call('put', ['streamed', ''], { stream: 'x'.repeat(100_000) });
    assert.equal((await call('get', ['streamed'])).ok.length, 100_000);
    assert.equal((await call('delete', ['streamed'])).ok, 'undefined');
    assert.equal((await call('get', ['streamed'])).ok, null);
    assert.equal((await call('delete', ['streamed'])).ok, 'undefined');
  });

  it('keeps metadata of any script, and expirations', async () => {
    const metadata = { who: 'Žofia 🎈', n: 1 };
    const expiration = Math.floor(Date.now() / 1000) + 1000;
    await call('put', ['meta', 'v', { metadata, expiration }]);
    for (let i = 0; i < 2; i++) {
      const { ok } = await call('getWithMetadata', ['meta', 'text']);
      assert.deepEqual([ok.value, ok.metadata], ['v', metadata]);
    }
    const { ok } = await call('list', [{ prefix: 'meta' }]);
    assert.deepEqual(ok.keys, [{ name: 'meta', expiration, metadata }]);
  });

  it('lists in order, in pages, by prefix', async () => {
    for (const name of ['p/c', 'p/a', 'p/b', 'q']) await call('put', [name, 'x']);
    const first = (await call('list', [{ prefix: 'p/', limit: 2 }])).ok;
    assert.deepEqual([first.keys.map(({ name }: any) => name), first.list_complete], [['p/a', 'p/b'], false]);
    const rest = (await call('list', [{ prefix: 'p/', limit: 2, cursor: first.cursor }])).ok;
    assert.deepEqual([rest.keys.map(({ name }: any) => name), rest.list_complete], [['p/c'], true]);
  });

  it('reads many keys at once', async () => {
    await call('put', ['m1', '1']);
    await call('put', ['m2', '{"x":2}', { metadata: 'm' }]);
    assert.deepEqual((await call('get', [['m1', 'm2', 'm3']])).ok, {
      map: [
        ['m1', '1'],
        ['m2', '{"x":2}'],
        ['m3', null],
      ],
    });
    assert.deepEqual((await call('get', [['m1', 'm2'], 'json'])).ok, {
      map: [
        ['m1', 1],
        ['m2', { x: 2 }],
      ],
    });
    assert.match((await call('get', [Array.from({ length: 101 }, (_, i) => `k${i}`)])).error, /maximum of 100 keys/);
  });

  for (const [what, method, args, message, more] of [
    [
      'a short time to live',
      'put',
      ['k', 'v', { expirationTtl: 59 }],
      /KV PUT failed: 400 Invalid expiration_ttl of 59\. Expiration TTL must be at least 60\./,
    ],
    [
      'an expiration in the past',
      'put',
      ['k', 'v', { expiration: 1 }],
      /KV PUT failed: 400 Invalid expiration of 1\. Please specify integer greater than the current/,
    ],
    [
      'metadata that is too large',
      'put',
      ['k', 'v', { metadata: 'x'.repeat(1023) }],
      /KV PUT failed: 413 Metadata length of 1025 exceeds limit of 1024\./,
    ],
    [
      'a value that is too large',
      'put',
      ['k', 'x'.repeat(25 * 1024 * 1024 + 1)],
      /KV PUT failed: 413 Value length of 26214401 exceeds limit of 26214400\./,
    ],
    ['a key that is too long', 'put', ['k'.repeat(513), 'v'], /512/],
    ['an empty key', 'get', [''], /Key name cannot be empty/],
    ['a key of dots', 'get', ['..'], /not allowed/],
    [
      'a short cacheTtl',
      'get',
      ['k', { cacheTtl: 5 }],
      /KV GET failed: 400 Invalid cache_ttl of 5\. Cache TTL must be at least 30\./,
    ],
    ['a list that is too long', 'list', [{ limit: 1001 }], /KV GET failed: 400 Invalid key_count_limit of 1001/],
    ['a cursor that is none', 'list', [{ cursor: '!' }], /400 Invalid cursor/],
  ] as [string, string, unknown[], RegExp, object?][]) {
    it(`says what is wrong with ${what}, and stores nothing`, async () => {
      await call('delete', ['k']);
      assert.match((await call(method, args, more)).error, message);
      assert.equal((await call('get', ['k'])).ok, null);
    });
  }

  it('reads a value of 25 MiB', async () => {
    const { ok } = await call('put', ['large', 'x'.repeat(25 * 1024 * 1024)]);
    assert.equal(ok, 'undefined');
    for (let i = 0; i < 3; i++) {
      const answer = await call('get', ['large']);
      assert.equal(answer.ok?.length, 25 * 1024 * 1024, JSON.stringify(answer).slice(0, 200));
    }
  });
});

describe('accounts', () => {
  it('do not see each other’s namespaces', async () => {
    const made = await edge.selvedge(['account', 'create', '--name', 'Stranger', '--subdomain', 'stranger']);
    const stranger = { id: /[0-9a-f]{32}/.exec(made.stdout)![0], token: '' };
    const created = await edge.selvedge(['token', 'create', '--account', stranger.id, '--name', 'theirs']);
    stranger.token = /[\w-]{43}/.exec(created.stdout)![0];
    const base = `/accounts/${stranger.id}/storage/kv/namespaces`;
    for (const path of [`${base}/${id}`, `${base}/${id}/keys`, `${base}/${id}/values/typed`]) {
      const { status, body } = await edge.api(path, { token: stranger.token });
      assert.deepEqual([status, body.errors[0].code], [404, 10013]);
    }
    const { status } = await edge.api(`/accounts/${edge.accountId}/storage/kv/namespaces`, { token: stranger.token });
    assert.equal(status, 403);
  });
});

describe('Workers Sites', () => {
  it('uploads a directory to KV and serves it', async () => {
    const site = await edge.project(
      { name: 'site', main: 'index.js', compatibility_date: '2026-11-01', site: { bucket: './public' } },
      {
        'index.js': `
        import manifestJSON from '__STATIC_CONTENT_MANIFEST';
        const manifest = JSON.parse(manifestJSON);
        export default { async fetch(request, env) {
          const path = new URL(request.url).pathname.slice(1) || 'index.html';
          const found = manifest[path] && await env.__STATIC_CONTENT.get(manifest[path], 'stream');
          return found ? new Response(found) : new Response('nothing here', { status: 404 });
        } }`,
      },
    );
    await mkdir(join(site, 'public', 'deep'), { recursive: true });
    await writeFile(join(site, 'public', 'index.html'), '<h1>site</h1>');
    await writeFile(join(site, 'public', 'deep', 'page.html'), 'page');
    await edge.deployed(['deploy'], { cwd: site });
    assert.equal((await edge.request(edge.host('site'))).text, '<h1>site</h1>');
    assert.equal((await edge.request(edge.host('site'), '/deep/page.html')).text, 'page');
    assert.equal((await edge.request(edge.host('site'), '/absent')).status, 404);
  });
});

it('all of it is there after a restart', async () => {
  await call('put', ['durable', 'yes']);
  assert.ok(await readFile(join(edge.dataDir, 'kv.sqlite')));
  const again = await restart();
  try {
    const answer = await again.request(again.host('one'), '/', {
      method: 'POST',
      body: JSON.stringify({ method: 'get', args: ['durable'] }),
    });
    assert.equal(answer.json().ok, 'yes');
  } finally {
    await again.close();
  }
});

async function restart() {
  await edge.stop();
  return startEdge({ dataDir: edge.dataDir });
}
