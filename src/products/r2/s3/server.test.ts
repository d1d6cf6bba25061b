/** Connections of the S3 API: who waits for whom, and for how long. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { after, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { AwsV4Signer } from 'aws4fetch';
import type { Token } from '../../../model/documents.ts';
import { Slurp } from '../slurp.ts';
import { newBucket, openTimes } from '../testing.ts';
import { createS3Server } from './server.ts';

const STALL_MS = 200;
const { opened, files } = await openTimes(1);
const r2 = opened[0]!;
const bucket = await newBucket(r2);
/** A disk that takes its time after the body has come. */
const objects = new Proxy(r2.objects, {
  get(target, name) {
    const value = Reflect.get(target, name);
    if (name !== 'put') return typeof value === 'function' ? value.bind(target) : value;
    return async (...args: Parameters<typeof target.put>) => {
      const stored = await target.put(...args);
      await sleep(3 * STALL_MS);
      return stored;
    };
  },
});
const token = { id: 'A', accountId: bucket.accountId } as Token;
const unused = () => {
  throw new Error('no bucket here has a source');
};
const server = createS3Server({
  r2: { ...r2, objects },
  slurp: new Slurp(r2, { connect: unused, unseal: unused }),
  credentials: { find: () => ({ secret: 'secret', token }), close: () => undefined },
  hosts: [],
});
server.timeout = STALL_MS;
await once(server.listen(0, '127.0.0.1'), 'listening');
const { port } = server.address() as AddressInfo;
const agent = new Agent({ keepAlive: true, maxSockets: 1 });
after(() => {
  agent.destroy();
  server.close();
});

async function ask(method: string, key: string, headers: Record<string, string> = {}, body = ''): Promise<number> {
  const url = `http://127.0.0.1:${port}/${bucket.name}/${key}`;
  const keys = { accessKeyId: 'A', secretAccessKey: 'secret', service: 's3', region: 'auto' };
  const all = { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD', ...headers };
  const signed = await new AwsV4Signer({ url, method, headers: all, ...keys }).sign();
  const sent = { ...Object.fromEntries(signed.headers as Headers), 'content-length': body.length };
  const asked = request(url, { method, agent, headers: sent }).end(body);
  const [answer] = await once(asked, 'response');
  await once(answer.resume(), 'end');
  return answer.statusCode;
}

it('a client waits while the disk is slow: for an upload, and for a copy', async () => {
  assert.equal(await ask('PUT', 'a', {}, 'hello'), 200);
  assert.equal(await ask('PUT', 'b', { 'x-amz-copy-source': `/${bucket.name}/a` }), 200);
  assert.equal(await ask('GET', 'b'), 200);
});

it('a client that stalls in the middle of its upload is let go, also after another request on its connection', async () => {
  const url = `http://127.0.0.1:${port}/${bucket.name}/stalled`;
  const keys = { accessKeyId: 'A', secretAccessKey: 'secret', service: 's3', region: 'auto', signQuery: true };
  const signed = await new AwsV4Signer({ url, method: 'PUT', ...keys }).sign();
  const head = (length: number) =>
    `PUT ${signed.url.pathname}${signed.url.search} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nContent-Length: ${length}\r\n\r\n`;
  const before = files().length;
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => undefined);
  socket.write(`${head(5)}whole`);
  const [answer] = await once(socket, 'data');
  assert.match(String(answer), /^HTTP\/1\.1 200/);
  const since = performance.now();
  socket.write(`${head(1_000_000)}${'x'.repeat(600_000)}`);
  await once(socket, 'close');
  const waited = performance.now() - since;
  assert.ok(waited > STALL_MS / 2 && waited < 10 * STALL_MS, `${waited} ms`);
  for (let i = 0; i < 100 && files().length > before + 1; i++) await sleep(10);
  assert.equal(files().length, before + 1);
});
