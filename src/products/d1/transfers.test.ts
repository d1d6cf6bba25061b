/** Imports and exports by the control API with the real app and files; what stands in for the database says what it was sent. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { after, afterEach, beforeEach, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { createAccount, createToken } from '../../core/accounts.ts';
import { type App, createApp } from '../../core/app.ts';
import type { CoreContext } from '../../core/context.ts';
import { layout } from '../../model/layout.ts';
import { openSqliteLedger } from '../../state/sqlite-ledger.ts';
import type { DatabaseClient } from './client.ts';
import { D1, DatabaseError } from './limits.ts';
import { registerTransfers } from './transfers.ts';

const SQL = 'CREATE TABLE t (a);';
const ETAG = createHash('md5').update(SQL).digest('hex');
const directory = mkdtempSync(join(tmpdir(), 'selvedge-imports-'));
const ledger = openSqliteLedger(join(directory, 'ledger.sqlite'));
const { id: accountId } = await createAccount(ledger, { name: 'a', subdomain: 'a' });
const { value: token } = await createToken(ledger, { accountId, name: 't', expiresOn: null });
const database = { id: '11111111-1111-4111-8111-111111111111', accountId, name: 'db', createdOn: '' };
const BASE = `http://api/client/v4/accounts/${accountId}/d1/database/${database.id}`;
let app: App;
let ask: DatabaseClient['ask'];
let before: () => Promise<void>;
const imported: string[] = [];

async function takes(_: unknown, { body }: { body?: Buffer | Readable }): Promise<IncomingMessage> {
  imported.push(await text(body as Readable));
  const answer = { success: true, statements: 1, bookmark: 'b', meta: {} };
  return Readable.from([JSON.stringify(answer)]) as IncomingMessage;
}

function start(dataDir: string): void {
  app = createApp();
  const context = { ledger, settings: { dataDir } } as unknown as CoreContext;
  const client: DatabaseClient = { ask: (...question) => ask(...question), close() {} };
  registerTransfers(app, context, client, { before: () => before() }, async () => database);
}
beforeEach(() => {
  imported.length = 0;
  ask = takes;
  before = async () => undefined;
  start(directory);
});
afterEach(() => rmSync(layout(directory).transfers, { recursive: true, force: true }));
after(async () => {
  await ledger.close();
  rmSync(directory, { recursive: true });
});

async function act(body: object, path = 'import'): Promise<any> {
  const headers = { authorization: `Bearer ${token}` };
  const answer = await app.request(`${BASE}/${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
  return answer.json();
}
const put = (address: string, body: string | ReadableStream) =>
  app.request(address, { method: 'PUT', body, duplex: 'half' } as RequestInit);
async function uploaded(): Promise<object> {
  const { result } = await act({ action: 'init', etag: ETAG });
  assert.equal((await put(result.upload_url, SQL)).status, 200);
  return { action: 'ingest', filename: result.filename, etag: ETAG };
}
const files = () => readdirSync(layout(directory).transfers);
const openFiles = () =>
  readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith(layout(directory).transfers);
    } catch {
      return false;
    }
  });

describe('an import', () => {
  it('runs an upload once, also when it is asked for twice at the same time', async () => {
    const ingest = await uploaded();
    const [first, second] = await Promise.all([act(ingest), act(ingest)]);
    assert.deepEqual([first.result?.status, second.errors[0]?.code], ['complete', 7400]);
    assert.deepEqual(imported, [SQL]);
    assert.deepEqual(files(), []);
  });

  it('keeps its file while it waits, whatever else is begun', async () => {
    const ingest = await uploaded();
    before = async () => {
      before = async () => undefined;
      for (let i = 0; i < 20; i++) await act({ action: 'init', etag: ETAG });
      await setTimeout(50);
    };
    assert.equal((await act(ingest)).result.status, 'complete');
    assert.deepEqual(imported, [SQL]);
  });

  it('leaves no file behind that nobody reads when its database does not answer', async () => {
    ask = async () => {
      throw new DatabaseError('D1 DB is overloaded. Too many requests queued.');
    };
    const { result } = await act(await uploaded());
    assert.deepEqual([result.status, result.error], ['error', 'D1 DB is overloaded. Too many requests queued.']);
    assert.deepEqual([files(), openFiles()], [[], []]);
  });

  it('takes one upload at a time', async () => {
    const { result } = await act({ action: 'init', etag: ETAG });
    const { readable, writable } = new TransformStream<Uint8Array>();
    const slow = put(result.upload_url, readable);
    const writer = writable.getWriter();
    await writer.write(Buffer.from(SQL.slice(0, 3)));
    const second = await put(result.upload_url, SQL);
    assert.equal(second.status, 400);
    await writer.write(Buffer.from(SQL.slice(3)));
    await writer.close();
    assert.equal((await slow).status, 200);
    assert.equal(files().length, 1);
  });
});

describe('transfers', () => {
  it('go on when the place of their files can be made again', async () => {
    const dataDir = mkdtempSync(join(directory, 'broken-'));
    const blocked = join(dataDir, 'data');
    writeFileSync(blocked, '');
    start(blocked);
    const { result } = await act({ action: 'init', etag: ETAG });
    assert.equal((await put(result.upload_url, SQL)).status, 500);
    rmSync(blocked);
    mkdirSync(blocked);
    assert.equal((await put(result.upload_url, SQL)).status, 200);
  });
});

describe('an export', () => {
  it('is bounded', async () => {
    ask = async () => {
      const answer = Readable.from(
        (function* () {
          const chunk = Buffer.alloc(64);
          for (let i = 0; i < 20; i++) yield chunk;
        })(),
      ) as IncomingMessage;
      answer.statusCode = 200;
      return answer;
    };
    const { exportBytes } = D1;
    Object.assign(D1, { exportBytes: 1000 });
    try {
      const { result } = await act({ output_format: 'polling' }, 'export');
      assert.equal(result.status, 'error');
      assert.deepEqual(files(), []);
    } finally {
      Object.assign(D1, { exportBytes });
    }
  });
});
