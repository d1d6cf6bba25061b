import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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
