/** Upload sessions of static assets, spoken to as wrangler does, with the real app, ledger, blobs and vault. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { hash as blake3 } from 'blake3-wasm';
import { decode, sign } from 'hono/jwt';
import type { AssetManifest } from '../model/documents.ts';
import { keys } from '../model/keys.ts';
import type { Settings } from '../model/settings.ts';
import { closeProducts, openCoreProducts } from '../products/state.ts';
import { openFileBlobs } from '../state/file-blobs.ts';
import { createHub } from '../state/local-bus.ts';
import { openObjectFiles } from '../state/object-files.ts';
import { openSqliteLedger } from '../state/sqlite-ledger.ts';
import { openVault } from '../state/vault.ts';
import { createAccount, createToken } from './accounts.ts';
import { type App, createApp } from './app.ts';
import { registerAssetsUpload, resolveAssetsJwt } from './assets-upload.ts';
import type { CoreContext } from './context.ts';

interface Answer {
  status: number;
  code: number | undefined;
  message: string | undefined;
  result: { jwt: string | null; buckets: string[][] };
}

let directory: string;
let context: CoreContext;
let app: App;
let mine: { id: string; token: string };
let theirs: { id: string; token: string };

async function open(): Promise<void> {
  context = {
    settings: {} as Settings,
    ledger: openSqliteLedger(join(directory, 'ledger.sqlite')),
    blobs: await openFileBlobs(join(directory, 'blobs')),
    ...(await openCoreProducts(directory)),
    objectFiles: openObjectFiles(join(directory, 'objects')),
    vault: openVault(join(directory, 'secret.key')),
    bus: createHub(),
    onUpgrade: () => undefined,
  };
  app = createApp();
  registerAssetsUpload(app, context);
}

async function close(): Promise<void> {
  await closeProducts(context);
  await context.ledger.close();
  await context.blobs.close();
  await context.bus.close();
}

async function person(name: string) {
  const { id } = await createAccount(context.ledger, { name, subdomain: name });
  const { value } = await createToken(context.ledger, { accountId: id, name: 'test', expiresOn: null });
  return { id, token: value };
}

let root: string;
let tests = 0;
before(async () => {
  root = await mkdtemp(join(tmpdir(), 'assets-upload-'));
});
after(() => rm(root, { recursive: true }));
beforeEach(async () => {
  directory = join(root, String(tests++));
  await mkdir(directory);
  await open();
  mine = await person('mine');
  theirs = await person('theirs');
});
afterEach(close);

/** What wrangler calls a file. */
function nameOf(path: string, content: string | Buffer): string {
  const extension = path.includes('.') ? path.split('.').at(-1)! : '';
  return blake3(Buffer.from(content).toString('base64') + extension)
    .toString('hex')
    .slice(0, 32);
}

function manifestOf(files: Record<string, string | Buffer>) {
  return Object.fromEntries(
    Object.entries(files).map(([path, content]) => [
      path,
      { hash: nameOf(path, content), size: Buffer.byteLength(content) },
    ]),
  );
}

async function request(path: string, token: string, body: string | FormData): Promise<Answer> {
  const response = await app.request(`/client/v4/accounts/${path}`, {
    method: 'POST',
    headers: token === '' ? {} : { authorization: `Bearer ${token}` },
    body,
  });
  const { result, errors } = (await response.json()) as {
    result: Answer['result'];
    errors: { code: number; message: string }[];
  };
  return { status: response.status, code: errors[0]?.code, message: errors[0]?.message, result };
}

const start = (manifest: unknown, who = mine, script = 'site') =>
  request(`${who.id}/workers/scripts/${script}/assets-upload-session`, who.token, JSON.stringify({ manifest }));

type Part = [name: string, text: string, type?: string];
function upload(jwt: string, parts: Part[], { account = mine.id, query = '?base64=true' } = {}): Promise<Answer> {
  const form = new FormData();
  for (const [name, text, type = 'application/null'] of parts)
    form.append(name, new File([text], name, { type }), name);
  return request(`${account}/workers/assets/upload${query}`, jwt, form);
}

const part = (path: string, content: string | Buffer, type?: string): Part => [
  nameOf(path, content),
  Buffer.from(content).toString('base64'),
  type,
];

async function manifestBehind(jwt: string, accountId = mine.id, script = 'site'): Promise<AssetManifest> {
  const { manifest } = await resolveAssetsJwt(context, jwt, accountId, script);
  return JSON.parse((await context.blobs.get(manifest))!.toString()) as AssetManifest;
}

test('a session asks for the files, the uploads bring them, and the completion token stands for the manifest', async () => {
  const files = { '/index.html': '<h1>home</h1>', '/a/b.txt': 'text', '/raw': 'raw' };
  const { status, result } = await start(manifestOf(files));
  assert.equal(status, 200);
  assert.deepEqual(
    result.buckets.flat().sort(),
    Object.entries(files)
      .map(([path, text]) => nameOf(path, text))
      .sort(),
  );
  assert.equal(decode(result.jwt!).payload.exp! - decode(result.jwt!).payload.iat!, 3600);

  const first = await upload(result.jwt!, [part('/index.html', files['/index.html'], 'text/html; charset=utf-8')]);
  assert.deepEqual([first.status, first.result], [202, { jwt: null }]);
  const last = await upload(result.jwt!, [part('/a/b.txt', 'text', 'text/plain'), part('/raw', 'raw')]);
  assert.equal(last.status, 201);

  const manifest = await manifestBehind(last.result.jwt!);
  assert.deepEqual(Object.keys(manifest), Object.keys(files));
  const page = manifest['/index.html']!;
  assert.deepEqual(
    [page.etag, page.sizeBytes, page.contentType],
    [nameOf('/index.html', files['/index.html']), 13, 'text/html; charset=utf-8'],
  );
  assert.equal((await context.blobs.get(page.hash))!.toString(), '<h1>home</h1>');
  assert.equal(manifest['/raw']!.contentType, null);
});

test('files that the account has are not asked for again; another account has to bring its own', async () => {
  const manifest = manifestOf({ '/a.txt': 'one', '/copy.txt': 'one' });
  const { result } = await start(manifest);
  assert.equal(result.buckets.flat().length, 1, 'the same file under two paths is one upload');
  const early = await start(manifest);
  assert.equal(early.result.buckets.flat().length, 1);
  await upload(result.jwt!, [part('/a.txt', 'one')]);

  const again = await start({ ...manifest, ...manifestOf({ '/b.txt': 'two' }) }, mine, 'other-site');
  assert.deepEqual(again.result.buckets, [[nameOf('/b.txt', 'two')]]);
  const nothing = await start(manifest);
  assert.deepEqual(nothing.result.buckets, []);
  assert.deepEqual(Object.keys(await manifestBehind(nothing.result.jwt!)), ['/a.txt', '/copy.txt']);
  assert.equal((await start(manifest, theirs)).result.buckets.flat().length, 1);
});

test('an empty folder is complete at once', async () => {
  const { result } = await start({});
  assert.deepEqual(result.buckets, []);
  assert.deepEqual(await manifestBehind(result.jwt!), {});
});

test('buckets come in any order, at once and repeatedly; the one that is stored last completes the session', async () => {
  const files = Object.fromEntries(Array.from({ length: 1100 }, (_, i) => [`/f${i}.txt`, `file ${i}`]));
  const contents = new Map(Object.entries(files).map(([path, text]) => [nameOf(path, text), text]));
  const { result } = await start(manifestOf(files));
  assert.deepEqual(
    result.buckets.map((bucket) => bucket.length),
    [500, 500, 100],
  );
  const bring = (bucket: string[]) =>
    upload(
      result.jwt!,
      bucket.map((hash) => [hash, Buffer.from(contents.get(hash)!).toString('base64')]),
    );
  const [a, b, c] = result.buckets as [string[], string[], string[]];
  assert.equal((await bring(c)).status, 202);
  const both = await Promise.all([bring(b), bring(a), bring(c)]);
  assert.ok(both.some(({ status, result }) => status === 201 && result.jwt));
  assert.equal((await bring(a)).status, 201, 'a repeated upload is answered again');
});

test('an upload goes on after a restart of the core', async () => {
  const { result } = await start(manifestOf({ '/a.txt': 'one', '/b.txt': 'two' }));
  assert.equal((await upload(result.jwt!, [part('/a.txt', 'one')])).status, 202);
  await close();
  await open();
  const last = await upload(result.jwt!, [part('/b.txt', 'two')]);
  assert.equal(last.status, 201);
  await close();
  await open();
  assert.equal(Object.keys(await manifestBehind(last.result.jwt!)).length, 2);
});

test('hashes by SHA-256, as in Cloudflare\u2019s guide to direct uploads, are taken too', async () => {
  const sha = createHash('sha256').update('guide').digest('hex').slice(0, 32);
  const { result } = await start({ '/g.txt': { hash: sha, size: 5 } });
  assert.equal((await upload(result.jwt!, [[sha, Buffer.from('guide').toString('base64')]])).status, 201);
});

test('a file that is not what the manifest announced is refused, and nothing of its upload is stored', async () => {
  const good = part('/a.txt', 'one');
  const { result } = await start(manifestOf({ '/a.txt': 'one', '/b.txt': 'two' }));
  const b = nameOf('/b.txt', 'two');
  const refused: [Part, RegExp][] = [
    [[b, Buffer.from('three').toString('base64')], /5 bytes, not 3/],
    [[b, Buffer.from('owt').toString('base64')], /other content/],
    [[b, 'not base64!'], /base64/],
    [[b, 'dHdv\n'], /base64/],
    [[nameOf('/c.txt', 'c'), 'Yw=='], /not in the manifest/],
    [['__proto__', 'Yw=='], /not in the manifest/],
    [part('/b.txt', 'two', 'nonsense'), /content type/],
  ];
  for (const [bad, message] of refused) {
    const answer = await upload(result.jwt!, [good, bad]);
    assert.deepEqual([answer.status, answer.code], [400, 10304], String(message));
    assert.match(answer.message!, message);
  }
  assert.equal(await context.ledger.get(keys.asset(mine.id, good[0])), null);
  const text = await request(`${mine.id}/workers/assets/upload?base64=true`, result.jwt!, 'text');
  assert.equal(text.code, 10304);
  assert.equal((await upload(result.jwt!, [good], { query: '' })).code, 10001);
});

test('tokens: of another kind, account, Worker or key, expired, missing or damaged, they open nothing', async () => {
  const { result } = await start(manifestOf({ '/a.txt': 'one' }));
  const good = part('/a.txt', 'one');
  const jwt = result.jwt!;
  const { payload } = decode(jwt);
  const bad = [
    '',
    'x',
    'a.b.c',
    mine.token,
    `${jwt.slice(0, -3)}abc`,
    await sign({ ...payload }, 'another key', 'HS256'),
    `${btoa('{"alg":"none","typ":"JWT"}').replaceAll('=', '')}.${jwt.split('.')[1]}.`,
  ];
  for (const token of bad) assert.deepEqual([(await upload(token, [good])).code, token], [10303, token]);
  assert.equal((await upload(jwt, [good], { account: theirs.id })).code, 10303);
  await assert.rejects(resolveAssetsJwt(context, jwt, mine.id, 'site'), { code: 10303, message: /not complete/ });

  const { jwt: complete } = (await upload(jwt, [good])).result;
  assert.equal((await upload(complete!, [good])).code, 10303, 'a completion token does not upload');
  await assert.rejects(resolveAssetsJwt(context, complete!, theirs.id, 'site'), { code: 10303 });
  await assert.rejects(resolveAssetsJwt(context, complete!, mine.id, 'other'), { code: 10303 });
  await assert.rejects(resolveAssetsJwt(context, 'x.y.z', mine.id, 'site'), { code: 10303 });

  const key = context.vault.unseal((await context.ledger.get<{ sealed: string }>(keys.assetsKey))!.value.sealed);
  const old = await sign({ ...payload, exp: Math.floor(Date.now() / 1000) - 1 }, key, 'HS256');
  assert.match((await upload(old, [good])).message!, /expired/);
});

test('a session needs the API token of the account', async () => {
  const path = `${mine.id}/workers/scripts/site/assets-upload-session`;
  assert.equal((await request(path, '', '{"manifest":{}}')).code, 9106);
  assert.equal((await request(path, theirs.token, '{"manifest":{}}')).code, 9109);
});

test('manifests that are not valid are refused with the path and the reason', async () => {
  const file = { hash: 'a'.repeat(32), size: 1 };
  const refused: [unknown, number, RegExp][] = [
    [undefined, 10301, /manifest/],
    [[], 10301, /manifest/],
    [{ 'a.txt': file }, 10301, /begin with/],
    [{ '/': file }, 10301, /path of a file/],
    [{ '/a/': file }, 10301, /path of a file/],
    [{ '/a/../b': file }, 10301, /segments/],
    [{ '/a//b': file }, 10301, /segments/],
    [{ '/a\0b': file }, 10301, /characters/],
    [{ '/\ud800': file }, 10301, /characters/],
    [{ [`/${'x'.repeat(2048)}`]: file }, 10301, /longer than 2048/],
    [{ '/a': null }, 10301, /hash/],
    [{ '/a': { hash: 'A'.repeat(32), size: 1 } }, 10301, /hash/],
    [{ '/a': { ...file, size: -1 } }, 10301, /size/],
    [{ '/a': { ...file, size: 1.5 } }, 10301, /size/],
    [{ '/a': file, '/b': { ...file, size: 2 } }, 10301, /hash of another path/],
    [{ '/a': { ...file, size: 25 * 1024 * 1024 + 1 } }, 10302, /26214400/],
    [Object.fromEntries(Array.from({ length: 20_001 }, (_, i) => [`/${i}`, file])), 10302, /20000/],
  ];
  for (const [manifest, code, message] of refused) {
    const answer = await start(manifest);
    assert.equal(answer.code, code, String(message));
    assert.match(answer.message!, message);
  }
  assert.equal((await start({ '/a/..b/...': file, '/ü [1]\\x': { ...file, hash: 'b'.repeat(32) } })).status, 200);
});

test('an upload is bounded: the largest file fits, more does not', async () => {
  const largest = Buffer.alloc(25 * 1024 * 1024, 7);
  const { result } = await start(manifestOf({ '/a.bin': largest, '/b.bin': 'b' }));
  assert.equal(result.buckets.length, 2, 'a large file is a bucket of its own');
  assert.equal((await upload(result.jwt!, [part('/a.bin', largest)])).status, 202);
  const more = await upload(result.jwt!, [part('/a.bin', largest), ['x', 'A'.repeat(3 * 1024 * 1024)]]);
  assert.deepEqual([more.status, more.code], [413, 10003]);
});
