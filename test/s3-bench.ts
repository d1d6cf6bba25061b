/** The S3 API in tests: an edge, its credentials as `wrangler.env` has them, and the official client. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { S3Client, type S3ClientConfig } from '@aws-sdk/client-s3';
import { startEdge } from './harness.ts';

type StartOptions = Parameters<typeof startEdge>[0];

export async function openS3Bench(options: StartOptions = {}) {
  const edge = await startEdge(options);
  const text = readFileSync(join(edge.dataDir, 'wrangler.env'), 'utf8');
  const env = Object.fromEntries(
    [...text.matchAll(/^export (AWS_\w+)="(.*)"$/gm)].map((match) => [match[1]!, match[2]!]),
  );
  const credentials = { accessKeyId: env.AWS_ACCESS_KEY_ID!, secretAccessKey: env.AWS_SECRET_ACCESS_KEY! };
  const endpoint = env.AWS_ENDPOINT_URL!;
  const client = (over: S3ClientConfig = {}) =>
    new S3Client({ endpoint, region: 'auto', credentials, maxAttempts: 1, ...over });
  return {
    edge,
    env,
    endpoint,
    credentials,
    client,
    s3: client(),
    /** Credentials of a token for less than the account. */
    async scoped(args: string[]): Promise<typeof credentials> {
      const { stdout, stderr } = await edge.selvedge(['token', 'create', '--name', 'scoped', ...args]);
      const [, accessKeyId] = /AWS_ACCESS_KEY_ID="(\w+)"/.exec(stdout) ?? [];
      const [, secretAccessKey] = /AWS_SECRET_ACCESS_KEY="(\w+)"/.exec(stdout) ?? [];
      if (!accessKeyId || !secretAccessKey) throw new Error(stdout + stderr);
      return { accessKeyId, secretAccessKey };
    },
  };
}

/** Of an error of the client: the code and the status. */
export function failure(promise: Promise<unknown>): Promise<[string, number]> {
  return promise.then(
    () => ['no error', 0],
    (error) => [error.name, error.$metadata?.httpStatusCode],
  );
}
