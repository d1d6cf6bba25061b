/** R2 with the real wrangler and a real Worker: the binding's methods, and what it says when something is wrong. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { startEdge } from './harness.ts';

/** Runs the function that the path names; the test's own code says what must come out. */
const WORKER = `
const shown = (object) => object && {
  key: object.key, size: object.size, etag: object.etag, httpEtag: object.httpEtag, version: object.version.length,
  uploaded: object.uploaded.getTime(), http: object.httpMetadata, custom: object.customMetadata, range: object.range,
  storageClass: object.storageClass, checksums: object.checksums.toJSON(), hasBody: 'body' in object,
};
const failure = (promise) => promise.then(() => 'no error', (error) => error.message);
const cases = {
  async store({ BUCKET }) {
    const put = await BUCKET.put('dir/a ü\\u0001.txt', 'grüße', {
      httpMetadata: { contentType: 'text/plain', contentLanguage: 'de', contentDisposition: 'inline', contentEncoding: 'identity',
        cacheControl: 'max-age=60', cacheExpiry: new Date(86400000) },
      customMetadata: { by: 'tëst', n: '1' },
    });
    const got = await BUCKET.get('dir/a ü\\u0001.txt');
    const headers = new Headers();
    got.writeHttpMetadata(headers);
    return { put: shown(put), got: shown(got), text: await got.text(), headers: [...headers], head: shown(await BUCKET.head('dir/a ü\\u0001.txt')) };
  },
  async kinds({ BUCKET }) {
    await BUCKET.put('buffer', new Uint8Array([0, 255, 7]));
    await BUCKET.put('blob', new Blob(['blob']));
    await BUCKET.put('null', null);
    const { readable, writable } = new FixedLengthStream(6);
    const writer = writable.getWriter();
    writer.write(new TextEncoder().encode('stream')).then(() => writer.close());
    await BUCKET.put('stream', readable);
    const json = await BUCKET.put('json', JSON.stringify({ a: 1 }));
    return { buffer: [...new Uint8Array(await (await BUCKET.get('buffer')).arrayBuffer())], blob: await (await BUCKET.get('blob')).text(),
      empty: (await BUCKET.get('null')).size, emptyText: await (await BUCKET.get('null')).text(), stream: await (await BUCKET.get('stream')).text(),
      json: await (await BUCKET.get('json')).json(), absent: [await BUCKET.get('absent'), await BUCKET.head('absent')] };
  },
  async ranges({ BUCKET }) {
    await BUCKET.put('range', '0123456789');
    const read = async (range) => { const o = await BUCKET.get('range', { range }); return [await o.text(), o.range]; };
    return { middle: await read({ offset: 2, length: 3 }), end: await read({ offset: 8 }), suffix: await read({ suffix: 2 }),
      beyond: await read({ offset: 5, length: 100 }), header: await read(new Headers({ range: 'bytes=1-2' })),
      outside: await failure(BUCKET.get('range', { range: { offset: 10 } })) };
  },
  async conditions({ BUCKET }) {
    const { etag, uploaded } = await BUCKET.put('cond', 'v1');
    const has = async (onlyIf) => { const o = await BUCKET.get('cond', { onlyIf }); return o && 'body' in o; };
    const later = new Date(uploaded.getTime() + 5000), earlier = new Date(uploaded.getTime() - 5000);
    return { match: await has({ etagMatches: etag }), noMatch: await has({ etagMatches: 'other' }), none: await has({ etagDoesNotMatch: etag }),
      before: await has({ uploadedBefore: later }), notBefore: await has({ uploadedBefore: earlier }), after: await has({ uploadedAfter: earlier }),
      notAfter: await has({ uploadedAfter: later }), headers: await has(new Headers({ 'if-none-match': '"' + etag + '"' })),
      refused: await BUCKET.put('cond', 'v2', { onlyIf: { etagMatches: 'other' } }), kept: await (await BUCKET.get('cond')).text(),
      taken: (await BUCKET.put('cond', 'v2', { onlyIf: { etagMatches: etag } })).size, now: await (await BUCKET.get('cond')).text(),
      createOnly: await BUCKET.put('cond', 'v3', { onlyIf: new Headers({ 'if-none-match': '*' }) }) };
  },
  async checksums({ BUCKET }) {
    const hex = (bytes) => [...new Uint8Array(bytes)].map((b) => b.toString(16).padStart(2, '0')).join('');
    const bytes = new TextEncoder().encode('checked');
    const sha256 = await crypto.subtle.digest('SHA-256', bytes);
    const sha512 = await crypto.subtle.digest('SHA-512', bytes);
    const object = await BUCKET.put('sum', bytes, { sha256 });
    return { stored: object.checksums.toJSON(), sha256: hex(sha256), wrong: await failure(BUCKET.put('sum', 'other', { sha256 })),
      wrongMd5: await failure(BUCKET.put('sum', 'other', { md5: '00000000000000000000000000000000' })), sha512: (await BUCKET.put('sum', bytes, { sha512 })).checksums.toJSON().sha512 === hex(sha512),
      kept: await (await BUCKET.get('sum')).text() };
  },
  async list({ BUCKET }) {
    for (const key of ['l/a', 'l/b', 'l/d/1', 'l/d/2', 'l/e/1', 'l/z']) await BUCKET.put(key, key, { customMetadata: { key }, httpMetadata: { contentType: 'x/' + key.length } });
    const keys = (page) => [page.objects.map(({ key }) => key), page.delimitedPrefixes, page.truncated];
    const all = await BUCKET.list({ prefix: 'l/' });
    const first = await BUCKET.list({ prefix: 'l/', limit: 2 });
    const pages = [];
    for (let cursor; ; ) {
      const page = await BUCKET.list({ prefix: 'l/', delimiter: '/', limit: 2, cursor });
      pages.push(keys(page));
      if (!page.truncated) break;
      cursor = page.cursor;
    }
    return { all: keys(all), plain: shown(all.objects[0]).custom, first: keys(first), next: keys(await BUCKET.list({ prefix: 'l/', cursor: first.cursor })),
      delimited: keys(await BUCKET.list({ prefix: 'l/', delimiter: '/' })), pages, after: keys(await BUCKET.list({ prefix: 'l/', startAfter: 'l/d/1' })),
      included: shown((await BUCKET.list({ prefix: 'l/a', include: ['customMetadata', 'httpMetadata'] })).objects[0]) };
  },
  async heavy({ BUCKET }) {
    for (let i = 0; i < 90; i++) await BUCKET.put('heavy/' + (i % 3) + '/' + i, '', { customMetadata: { a: 'x'.repeat(8000) } });
    for (let i = 0; i < 30; i++) await BUCKET.put('heavy/' + i, '', { customMetadata: { a: 'x'.repeat(8000) } });
    const found = [];
    let pages = 0;
    for (let cursor; ; pages++) {
      const page = await BUCKET.list({ prefix: 'heavy/', include: ['customMetadata'], cursor });
      found.push(...page.objects.map(({ key, customMetadata }) => key + customMetadata.a.length));
      if (!page.truncated) break;
      cursor = page.cursor;
    }
    const delimited = await BUCKET.list({ prefix: 'heavy/', delimiter: '/', include: ['customMetadata'] });
    return { found: new Set(found).size, pages, prefixes: delimited.delimitedPrefixes, objects: delimited.objects.length };
  },
  async remove({ BUCKET }) {
    for (const key of ['r1', 'r2', 'r3']) await BUCKET.put(key, key);
    await BUCKET.delete('r1');
    await BUCKET.delete(['r2', 'absent']);
    return [await BUCKET.head('r1'), await BUCKET.head('r2'), (await BUCKET.head('r3')).key, await failure(BUCKET.delete(Array.from({ length: 1001 }, (_, i) => 'k' + i)))];
  },
  async multipart({ BUCKET }) {
    const size = 5 * 1024 * 1024;
    const upload = await BUCKET.createMultipartUpload('big', { customMetadata: { by: 'parts' }, httpMetadata: { contentType: 'video/mp4' } });
    const again = BUCKET.resumeMultipartUpload('big', upload.uploadId);
    const second = await again.uploadPart(2, new Uint8Array(size).fill(2));
    const first = await upload.uploadPart(1, new Uint8Array(size).fill(1));
    const third = await upload.uploadPart(3, 'end');
    const before = await BUCKET.head('big');
    const wrongOrder = await failure(upload.complete([second, first]));
    const wrongEtag = await failure(upload.complete([{ partNumber: 1, etag: 'f'.repeat(32) }]));
    const object = await upload.complete([first, second, third]);
    const range = await (await BUCKET.get('big', { range: { offset: size - 2, length: 4 } })).arrayBuffer();
    const last = await (await BUCKET.get('big', { range: { suffix: 4 } })).arrayBuffer();
    const small = await BUCKET.createMultipartUpload('small');
    const parts = [await small.uploadPart(1, 'a'), await small.uploadPart(2, 'b')];
    const tooSmall = await failure(small.complete(parts));
    await small.abort();
    return { before, wrongOrder, wrongEtag, object: shown(object), range: [...new Uint8Array(range)], last: [...new Uint8Array(last)], tooSmall,
      aborted: await failure(small.uploadPart(1, 'a')), completed: await failure(upload.abort()) };
  },
  async limits({ BUCKET }) {
    return { key: await failure(BUCKET.put('k'.repeat(1025), 'v')), bytes: await failure(BUCKET.put('ü'.repeat(513), 'v')), longest: (await BUCKET.put('k'.repeat(1024), 'v')).key.length,
      metadata: await failure(BUCKET.put('m', 'v', { customMetadata: { a: 'x'.repeat(8192) } })), stored: await BUCKET.head('m'),
      class: (await BUCKET.put('ia', 'v', { storageClass: 'InfrequentAccess' })).storageClass, wrongClass: await failure(BUCKET.put('ia', 'v', { storageClass: 'Cold' })),
      ssec: await failure(BUCKET.put('enc', 'v', { ssecKey: 'a'.repeat(64) })) };
  },
  async tricks({ BUCKET }) {
    const names = ['..', '../../etc/passwd', '/', '//', 'a\\u0000b', '.', '%2e%2e', 'a\\\\b', '\\u{10FFFF}', ' ', '#?&'];
    for (const name of names) await BUCKET.put('t/' + name, name);
    const found = [];
    for (const name of names) found.push(await (await BUCKET.get('t/' + name))?.text() === name);
    return { found, listed: (await BUCKET.list({ prefix: 't/' })).objects.length };
  },
};
export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname.startsWith('/object/')) {
      const key = pathname.slice(8);
      if (request.method === 'PUT') return Response.json(shown(await env.BUCKET.put(key, request.body)));
      const object = await env.BUCKET.get(key, { range: request.headers });
      return object ? new Response(object.body) : new Response('no', { status: 404 });
    }
    try { return Response.json(await cases[pathname.slice(1)](env)); }
    catch (error) { return Response.json({ failed: error.stack }, { status: 500 }); }
  },
};`;

const edge = await startEdge();
after(() => edge.close());
const cwd = await edge.project({ name: 'none', compatibility_date: '2026-11-01' }, {});
const r2 = (...args: string[]) => edge.deployed(['r2', ...args], { cwd });
await r2('bucket', 'create', 'files');
const project = await edge.project(
  {
    name: 'store',
    main: 'index.js',
    compatibility_date: '2026-11-01',
    r2_buckets: [{ binding: 'BUCKET', bucket_name: 'files' }],
  },
  { 'index.js': WORKER },
);
await edge.deployed(['deploy'], { cwd: project });
const host = edge.host('store');

async function run(name: string): Promise<any> {
  const answer = await edge.request(host, `/${name}`);
  assert.equal(answer.status, 200, answer.text);
  return answer.json();
}

describe('the R2 binding', () => {
  it('keeps a value with its metadata', async () => {
    const { put, got, text, headers, head } = await run('store');
    const md5 = createHash('md5').update('grüße').digest('hex');
    assert.equal(text, 'grüße');
    const expected = {
      key: 'dir/a ü\u0001.txt',
      size: 7,
      etag: md5,
      httpEtag: `"${md5}"`,
      version: 32,
      custom: { by: 'tëst', n: '1' },
      storageClass: 'Standard',
      checksums: { md5 },
    };
    for (const object of [put, got, head]) {
      const { uploaded, http, hasBody, range, ...rest } = object;
      assert.deepEqual(rest, expected);
      assert.ok(Math.abs(uploaded - Date.now()) < 60_000);
      assert.equal(http.contentType, 'text/plain');
      assert.equal(http.cacheExpiry, new Date(86_400_000).toISOString());
    }
    assert.deepEqual([put.hasBody, got.hasBody, head.hasBody], [false, true, false]);
    assert.deepEqual(Object.fromEntries(headers), {
      'content-type': 'text/plain',
      'content-language': 'de',
      'content-disposition': 'inline',
      'content-encoding': 'identity',
      'cache-control': 'max-age=60',
      expires: new Date(86_400_000).toUTCString(),
    });
  });

  it('takes strings, buffers, blobs, streams and nothing', async () => {
    assert.deepEqual(await run('kinds'), {
      buffer: [0, 255, 7],
      blob: 'blob',
      empty: 0,
      emptyText: '',
      stream: 'stream',
      json: { a: 1 },
      absent: [null, null],
    });
  });

  it('reads ranges', async () => {
    const { outside, ...ranges } = await run('ranges');
    assert.deepEqual(ranges, {
      middle: ['234', { offset: 2, length: 3 }],
      end: ['89', { offset: 8, length: 2 }],
      suffix: ['89', { offset: 8, length: 2 }],
      beyond: ['56789', { offset: 5, length: 5 }],
      header: ['12', { offset: 1, length: 2 }],
    });
    assert.match(outside, /^get: The requested range is not satisfiable\. \(10039\)$/);
  });

  it('reads and writes under conditions', async () => {
    assert.deepEqual(await run('conditions'), {
      match: true,
      noMatch: false,
      none: false,
      before: true,
      notBefore: false,
      after: true,
      notAfter: false,
      headers: false,
      refused: null,
      kept: 'v1',
      taken: 2,
      now: 'v2',
      createOnly: null,
    });
  });

  it('holds values against the hashes that came with them', async () => {
    const { stored, sha256, wrong, wrongMd5, sha512, kept } = await run('checksums');
    assert.equal(stored.sha256, sha256);
    assert.match(wrong, /^put: The SHA-256 checksum you specified did not match what we received\..* \(10037\)$/s);
    assert.match(wrongMd5, /^put: The MD5 checksum you specified .* \(10037\)$/s);
    assert.equal(sha512, true);
    assert.equal(kept, 'checked');
  });

  it('lists by prefix, delimiter, page and start', async () => {
    const { included, plain, ...lists } = await run('list');
    const keys = ['l/a', 'l/b', 'l/d/1', 'l/d/2', 'l/e/1', 'l/z'];
    assert.deepEqual(lists, {
      all: [keys, [], false],
      first: [keys.slice(0, 2), [], true],
      next: [keys.slice(2), [], false],
      delimited: [['l/a', 'l/b', 'l/z'], ['l/d/', 'l/e/'], false],
      pages: [
        [['l/a', 'l/b'], [], true],
        [[], ['l/d/', 'l/e/'], true],
        [['l/z'], [], false],
      ],
      after: [keys.slice(3), [], false],
    });
    assert.deepEqual(plain, {});
    assert.deepEqual([included.custom, included.http], [{ key: 'l/a' }, { contentType: 'x/3' }]);
  });

  it('lists objects with much metadata in shorter pages', async () => {
    const { found, pages, prefixes, objects } = await run('heavy');
    assert.equal(found, 120);
    assert.ok(pages >= 1);
    assert.deepEqual([prefixes, objects], [['heavy/0/', 'heavy/1/', 'heavy/2/'], 30]);
  });

  it('deletes one and many', async () => {
    const [first, second, third, tooMany] = await run('remove');
    assert.deepEqual([first, second, third], [null, null, 'r3']);
    assert.match(tooMany, /1000/);
  });

  it('makes an object of uploaded parts, all at once', async () => {
    const { before, object, ...rest } = await run('multipart');
    assert.equal(before, null);
    assert.equal(object.size, 10 * 1024 * 1024 + 3);
    assert.match(object.etag, /^[0-9a-f]{32}-3$/);
    assert.deepEqual([object.custom, object.http.contentType], [{ by: 'parts' }, 'video/mp4']);
    assert.deepEqual(rest.range, [1, 1, 2, 2]);
    assert.deepEqual(rest.last, [2, ...Buffer.from('end')]);
    assert.match(rest.wrongOrder, /ascending order/);
    assert.match(rest.wrongEtag, /could not be found\. \(10025\)$/);
    assert.match(rest.tooSmall, /smaller than the minimum allowed object size\. \(10011\)$/);
    assert.match(rest.aborted, /does not exist\. \(10024\)$/);
    assert.match(rest.completed, /does not exist\. \(10024\)$/);
  });

  it('refuses what is above a limit, and stores nothing of it', async () => {
    const found = await run('limits');
    assert.match(found.key, /\(10020\)$/);
    assert.match(found.bytes, /\(10020\)$/);
    assert.equal(found.longest, 1024);
    assert.match(found.metadata, /^put: Your metadata headers exceed the maximum allowed metadata size\. \(10012\)$/);
    assert.equal(found.stored, null);
    assert.equal(found.class, 'InfrequentAccess');
    assert.match(found.wrongClass, /storage class "Cold" is not valid/);
    assert.match(found.ssec, /SSE-C/);
  });

  it('takes every name for what it is', async () => {
    const { found, listed } = await run('tricks');
    assert.deepEqual([...new Set(found)], [true]);
    assert.equal(listed, found.length);
  });

  it('passes a large body on as it comes, both ways', async () => {
    const bytes = randomBytes(20 * 1024 * 1024 + 7);
    const put = await edge.request(host, '/object/large', { method: 'PUT', body: bytes });
    assert.equal(put.json().etag, createHash('md5').update(bytes).digest('hex'));
    assert.ok((await edge.request(host, '/object/large')).bytes.equals(bytes));
    const part = await edge.request(host, '/object/large', { headers: { range: 'bytes=1048570-3145735' } });
    assert.ok(part.bytes.equals(bytes.subarray(1_048_570, 3_145_736)));
  });
});

describe('wrangler r2', () => {
  it('creates, lists, shows and deletes buckets', async () => {
    await r2('bucket', 'create', 'second', '--location', 'weur');
    assert.match(await r2('bucket', 'list'), /name: +files[\s\S]*name: +second/);
    const info = JSON.parse(await r2('bucket', 'info', 'files', '--json'));
    assert.equal(info.name, 'files');
    assert.ok(Number(info.object_count) > 10, info.object_count);
    assert.match(info.bucket_size, /MB/);
    const twice = await edge.wrangler(['r2', 'bucket', 'create', 'files'], { cwd });
    assert.match(twice.stdout + twice.stderr, /already exists.*10073/s);
    const full = await edge.wrangler(['r2', 'bucket', 'delete', 'files'], { cwd });
    assert.match(full.stdout + full.stderr, /not empty.*10008/s);
    await r2('bucket', 'delete', 'second');
    assert.doesNotMatch(await r2('bucket', 'list'), /second/);
  });

  it('puts, gets and deletes objects', async () => {
    const bytes = randomBytes(100_000);
    await writeFile(join(cwd, 'up'), bytes);
    const path = 'files/dir/a b ü&.bin';
    await r2('object', 'put', path, '--file', 'up', '--content-type', 'x/y', '--remote');
    await r2('object', 'get', path, '--file', 'down', '--remote');
    assert.ok((await readFile(join(cwd, 'down'))).equals(bytes));
    await r2('object', 'delete', path, '--remote');
    const gone = await edge.wrangler(['r2', 'object', 'get', path, '--file', 'down', '--remote'], { cwd });
    assert.match(gone.stdout + gone.stderr, /specified key does not exist/);
    const absent = await edge.wrangler(['r2', 'object', 'put', 'absent/a', '--file', 'up', '--remote'], { cwd });
    assert.match(absent.stdout + absent.stderr, /specified bucket does not exist/);
  });

  it('sets CORS and lifecycle rules', async () => {
    const rules = [{ allowed: { origins: ['https://a.example'], methods: ['GET'] }, maxAgeSeconds: 60 }];
    await writeFile(join(cwd, 'cors.json'), JSON.stringify({ rules }));
    await r2('bucket', 'cors', 'set', 'files', '--file', 'cors.json', '-y');
    assert.match(await r2('bucket', 'cors', 'list', 'files'), /https:\/\/a\.example/);
    await r2('bucket', 'cors', 'delete', 'files', '-y');
    await r2('bucket', 'lifecycle', 'add', 'files', 'old', 'logs/', '--expire-days', '30', '-y');
    assert.match(await r2('bucket', 'lifecycle', 'list', 'files'), /old[\s\S]*logs\/[\s\S]*after 30 days/);
    await r2('bucket', 'lifecycle', 'remove', 'files', '--name', 'old');
  });

  it('refuses a Worker that binds a bucket that is not there', async () => {
    const form = new FormData();
    const bindings = [{ type: 'r2_bucket', name: 'BUCKET', bucket_name: 'absent' }];
    form.set('metadata', JSON.stringify({ main_module: 'index.js', compatibility_date: '2026-11-01', bindings }));
    form.set('index.js', new File([WORKER], 'index.js', { type: 'application/javascript+module' }));
    const path = `/accounts/${edge.accountId}/workers/scripts/other`;
    const { status, body } = await edge.api(path, { method: 'PUT', body: form });
    assert.equal(status, 400);
    assert.deepEqual([body.errors[0].code, /'absent' not found/.test(body.errors[0].message)], [10085, true]);
  });

  it('keeps a bucket of the same name on another account apart', async () => {
    const made = await edge.selvedge(['account', 'create', '--name', 'other', '--subdomain', 'other']);
    const account = /\b[0-9a-f]{32}\b/.exec(made.stdout)![0];
    const token = (await edge.selvedge(['token', 'create', '--account', account, '--name', 't'])).stdout
      .trim()
      .split('\n')
      .at(-1)!;
    const env = { CLOUDFLARE_ACCOUNT_ID: account, CLOUDFLARE_API_TOKEN: token };
    const absent = await edge.wrangler(['r2', 'object', 'get', 'files/buffer', '--remote', '--pipe'], { cwd, env });
    assert.match(absent.stdout + absent.stderr, /does not exist/);
    // wrangler makes the buckets that a Worker names.
    await edge.deployed(['deploy'], { cwd: project, env });
    const answer = await edge.request(`store.other.${edge.workersDomain}`, '/object/buffer');
    assert.equal(answer.status, 404);
    assert.equal((await edge.request(host, '/object/buffer')).status, 200);
  });
});
