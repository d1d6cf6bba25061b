import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { after, it } from 'node:test';
import { blobsConformance } from './blobs.conformance.ts';
import { BlobCorrupted } from './blobs.ts';
import { openFileBlobs } from './file-blobs.ts';

const directory = mkdtempSync(join(tmpdir(), 'selvedge-blobs-'));
after(() => rmSync(directory, { recursive: true }));

blobsConformance('files', () => openFileBlobs(directory));

it('a blob that was changed on disk is not given out', async () => {
  const blobs = await openFileBlobs(directory);
  const { hash } = await blobs.put(Buffer.from('what it should be'));
  writeFileSync(blobs.path(hash), 'what it should not');
  await assert.rejects(blobs.get(hash), BlobCorrupted);
  const stream = await blobs.stream(hash);
  await assert.rejects(buffer(stream!), BlobCorrupted);
});

it('what a process was writing when it was killed is removed by the next that opens; what others are writing stays', async () => {
  const at = mkdtempSync(join(directory, 'killed-'));
  const incoming = () => readdirSync(join(at, 'incoming'));
  const writer = `
    const { openFileBlobs } = await import(${JSON.stringify(new URL('./file-blobs.ts', import.meta.url))});
    const { PassThrough } = await import('node:stream');
    const body = new PassThrough();
    const blobs = await openFileBlobs(${JSON.stringify(at)});
    blobs.put(body).catch(() => undefined);
    body.write(Buffer.alloc(1_000_000));
    setInterval(() => undefined, 1000);
    setTimeout(() => console.log('writing'), 50);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', writer], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  const blobs = await openFileBlobs(at);
  assert.equal(incoming().length, 1);
  const body = new PassThrough();
  const mine = blobs.put(body);
  body.write('mine');
  child.kill('SIGKILL');
  await once(child, 'exit');
  writeFileSync(join(at, 'incoming', 'old'), '');
  writeFileSync(join(at, 'incoming', 'new'), '');
  utimesSync(join(at, 'incoming', 'old'), 0, 0);
  await openFileBlobs(at);
  const left = incoming();
  assert.equal(left.length, 2);
  assert.ok(left.includes('new') && left.some((name) => name.startsWith(`${process.pid}.`)), String(left));
  body.end();
  assert.equal(String(await blobs.get((await mine).hash)), 'mine');
});
