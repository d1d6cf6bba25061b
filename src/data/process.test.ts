import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { type IncomingMessage, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { AssetManifest } from '../model/documents.ts';
import { layout } from '../model/layout.ts';
import type { Attach } from '../model/messages.ts';
import { openFileBlobs } from '../state/file-blobs.ts';
import { createHub } from '../state/local-bus.ts';

describe('the data process', () => {
  it('starts, opens the sockets of an isolate, serves its assets, and ends on SIGTERM', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'selvedge-process-'));
    const blobs = await openFileBlobs(layout(dir).blobs);
    const { hash } = await blobs.put(Buffer.from('<h1>page</h1>'));
    const file = { hash, etag: 'e'.repeat(32), sizeBytes: 13, contentType: 'text/html' };
    const manifest = await blobs.put(Buffer.from(JSON.stringify({ '/page.html': file } satisfies AssetManifest)));
    const hub = createHub();
    hub.respond('local.snapshot', () => ({ changes: [], isolates: [] }));
    const ready = new Promise<{ name: string; pid: number }>((done) => {
      hub.subscribe('local.ready', done);
    });
    const ports = { httpPort: 1, httpsPort: 1, apiPort: 1 };
    const settings = {
      dataDir: dir,
      listen: '127.0.0.1',
      ...ports,
      listeners: [],
      egressAllow: [],
      cache: { diskBytes: 1e9, memoryBytes: 1e6 },
    };
    const child = fork(fileURLToPath(new URL('process.ts', import.meta.url)), [], {
      env: { ...process.env, SELVEDGE_SETTINGS: JSON.stringify({ ...settings, workersDomain: 'workers.localhost' }) },
    });
    hub.attach(child);
    const exited = once(child, 'exit');
    try {
      assert.deepEqual(await ready, { name: 'data', pid: child.pid });
      const attach: Attach = {
        isolate: 'i1',
        dir: join(dir, 'i1'),
        accountId: 'a1',
        script: 'w',
        versionId: 'v1',
        services: [],
        assets: {
          manifest: manifest.hash,
          config: {
            html_handling: 'auto-trailing-slash',
            not_found_handling: 'none',
            run_worker_first: false,
          },
        },
        own: join(dir, 'i1', 'own'),
        bindings: [],
        subrequests: 10,
      };
      await mkdir(attach.dir);
      await hub.request('local.attach', attach);
      const get = async (path: string) => {
        const req = request({ socketPath: join(attach.dir, 'assets.sock'), path, agent: false }).end();
        const [res] = (await once(req, 'response')) as [IncomingMessage];
        let body = '';
        for await (const chunk of res.setEncoding('utf8')) body += chunk;
        return [res.statusCode, body];
      };
      assert.deepEqual(await get('/page'), [200, '<h1>page</h1>']);
      assert.equal((await get('/other'))[0], 404);
      child.kill('SIGTERM');
      assert.deepEqual(await exited, [0, null]);
      assert.equal(existsSync(join(attach.dir, 'egress.sock')), false);
    } finally {
      child.kill('SIGKILL');
      await hub.close();
      await blobs.close();
      await rm(dir, { recursive: true });
    }
  });
});
