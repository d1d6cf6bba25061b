import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AwsV4Signer } from 'aws4fetch';
import { type Edge, startEdge } from '../../test/harness.ts';
import type { Transferred } from '../clients/transfer.ts';
import { interleaved, type Row } from '../lib.ts';
import { nginxFiles } from '../nginx.ts';
import { client } from '../programs.ts';

const BYTES = 100 * 1000 * 1000;
const ROUNDS = 7;
const GOAL = 0.5;

/** A presigned URL of the S3 API, as a client gives it to somebody who has no S3 library. */
async function presigned(edge: Edge, method: string, path: string): Promise<URL> {
  const text = readFileSync(join(edge.dataDir, 'wrangler.env'), 'utf8');
  const value = (name: string) => new RegExp(`^export ${name}="(.*)"$`, 'm').exec(text)![1]!;
  const { url } = await new AwsV4Signer({
    method,
    url: `${value('AWS_ENDPOINT_URL')}${path}?X-Amz-Expires=3600`,
    accessKeyId: value('AWS_ACCESS_KEY_ID'),
    secretAccessKey: value('AWS_SECRET_ACCESS_KEY'),
    service: 's3',
    region: 'auto',
    signQuery: true,
  }).sign();
  return url;
}

export const row: Row = {
  what: '100 MB object put and got through the S3 API, bytes/s, the worse of the two',
  against: 'nginx storing and serving the same file',
  goal: `>= ${GOAL}x`,
  needs: ['nginx'],
  async run() {
    const edge = await startEdge({ args: ['--edges', '1'] });
    // Beside the data directory, on the same disk.
    const files = mkdtempSync(join(tmpdir(), 'selvedge-bench-files-'));
    writeFileSync(join(files, 'object'), Buffer.alloc(BYTES, 'a'));
    const nginx = await nginxFiles(files);
    try {
      const path = `/accounts/${edge.accountId}/r2/buckets`;
      await edge.api(path, { method: 'POST', body: { name: 'bench' } });
      const ratios: number[] = [];
      const details: string[] = [];
      for (const [name, method, up] of [
        ['put', 'PUT', BYTES],
        ['got', 'GET', 0],
      ] as const) {
        const url = await presigned(edge, method, '/bench/object');
        const through = (port: number, host: string, path: string) => async () => {
          const { ms, bytes, head } = await client<Transferred>('transfer', { port, host, path, up, method });
          if (!/^HTTP\/1\.1 20[014] /.test(head) || (up === 0 && bytes <= BYTES)) throw new Error(head.slice(0, 500));
          return BYTES / 1e6 / (ms / 1000);
        };
        const ours = through(Number(url.port), url.host, url.pathname + url.search);
        const theirs = through(nginx.http, 'localhost', '/object');
        await ours();
        await theirs();
        const { a, b, ratio } = await interleaved(ROUNDS, ours, theirs);
        ratios.push(ratio);
        details.push(`${name} ${ratio.toFixed(2)}x: ${a.toFixed(0)} and ${b.toFixed(0)} MB/s`);
      }
      const worst = Math.min(...ratios);
      return { measured: `${worst.toFixed(2)}x`, detail: details.join('; '), met: worst >= GOAL };
    } finally {
      await nginx.stop();
      rmSync(files, { recursive: true, force: true });
      await edge.close();
    }
  },
};
