/** Lists of R2 that are long: more metadata than the runtime takes at once, long prefixes, and names that XML has to escape. */
import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { DeleteObjectsCommand, ListObjectsV2Command, PutObjectCommand } from '@aws-sdk/client-s3';
import { BUCKET as Bucket, openR2Bench } from './r2-bench.ts';

const { edge, s3, ask } = await openR2Bench();
after(() => edge.close());

async function putAll(keys: string[], Metadata: Record<string, string> = {}): Promise<void> {
  const left = [...keys];
  const sender = async () => {
    for (let Key = left.pop(); Key !== undefined; Key = left.pop()) {
      await s3.send(new PutObjectCommand({ Bucket, Key, Body: 'x', Metadata }));
    }
  };
  await Promise.all(Array.from({ length: 16 }, sender));
}

interface Page {
  objects: { key: string; customMetadata?: Record<string, string> }[];
  delimitedPrefixes: string[];
  truncated: boolean;
  cursor?: string;
}

async function pages(options: object): Promise<Page[]> {
  const all: Page[] = [];
  for (let cursor: string | undefined; ; ) {
    const answer = await ask('GET', `/?list=${encodeURIComponent(JSON.stringify({ ...options, cursor }))}`);
    assert.equal(answer.status, 200, answer.text);
    const page: Page = answer.json();
    all.push(page);
    if (!page.truncated) return all;
    cursor = page.cursor;
  }
}

it('of a binding hold all metadata and all prefixes, in as many pages as that takes', async () => {
  const number = (i: number) => String(i).padStart(3, '0');
  const objects = Array.from({ length: 400 }, (_, i) => `m/${number(i)}`);
  // Between the objects, and a page full of them alone.
  const prefixes = Array.from({ length: 700 }, (_, i) => `m/${number(i)}-${'ü'.repeat(480)}/`);
  const note = 'x'.repeat(4000);
  await putAll(objects, { note });
  await putAll(prefixes.map((prefix) => `${prefix}file`));
  const found = await pages({ prefix: 'm/', delimiter: '/', include: ['customMetadata'] });
  assert.ok(found.length > 2, String(found.length));
  assert.deepEqual(
    found.flatMap((page) => page.objects.map(({ key }) => key)),
    objects,
  );
  assert.ok(found.every((page) => page.objects.every(({ customMetadata }) => customMetadata?.note === note)));
  assert.deepEqual(
    found.flatMap((page) => page.delimitedPrefixes),
    prefixes,
  );
});

it('over S3 give names that XML has to escape, and such names are deleted many at once', async () => {
  const names = [
    '\r',
    '\n',
    '\r\n',
    '\t',
    "it's",
    '"',
    '<&>',
    '&#13;',
    '&amp;',
    ' a ',
    '\u0085',
    '\u2028',
    '\ufffd',
    '😀',
  ];
  const keys = names.map((name) => `x/a${name}b`);
  await putAll(keys);
  const list = async () => {
    const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket, Prefix: 'x/' }));
    return Contents.map(({ Key }) => Key!).sort();
  };
  assert.deepEqual(await list(), [...keys].sort());
  const Objects = keys.map((Key) => ({ Key }));
  const { Deleted } = await s3.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
  assert.deepEqual(Deleted!.map(({ Key }) => Key).sort(), [...keys].sort());
  assert.deepEqual(await list(), []);
});
