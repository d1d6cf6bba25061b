/** Two real edge processes share their ports; each may die alone. */
import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { type IncomingMessage, request } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { createHub } from '../state/local-bus.ts';
import { until } from './testing.ts';

const directory = await mkdtemp(join(tmpdir(), 'selvedge-edges-'));
const hub = createHub();
const ready = new Map<string, number>();
const edges = new Map<string, ChildProcess>();
hub.respond('local.snapshot', () => ({ changes: [], isolates: [] }));
hub.subscribe('local.ready', ({ name, pid }) => ready.set(name, pid));
after(async () => {
  for (const child of edges.values()) child.kill('SIGKILL');
  await hub.close();
  await rm(directory, { recursive: true });
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function ask(port: number): Promise<number | undefined> {
  const sent = request({ host: '127.0.0.1', port, headers: { host: 'nobody.example' }, agent: false }).end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  response.resume();
  return response.statusCode;
}

it('edge processes share their ports, and the others serve on when one is killed or stopped', async () => {
  const settings = {
    dataDir: directory,
    listen: '127.0.0.1',
    httpPort: await freePort(),
    httpsPort: await freePort(),
    workersDomain: 'workers.localhost',
    colo: 'dev',
  };
  const start = async (name: string) => {
    const env = { ...process.env, SELVEDGE_SETTINGS: JSON.stringify(settings), SELVEDGE_PROCESS: name };
    const child = fork(join(import.meta.dirname, 'process.ts'), { env });
    edges.set(name, child);
    hub.attach(child);
    await until(() => ready.get(name) === child.pid, `${name} is ready`);
    return child;
  };
  const [first, second] = await Promise.all([start('edge-1'), start('edge-2')]);
  const many = () => Promise.all(Array.from({ length: 40 }, () => ask(settings.httpPort)));
  assert.deepEqual(new Set(await many()), new Set([404]));

  first.kill('SIGKILL');
  await once(first, 'exit');
  assert.deepEqual(new Set(await many()), new Set([404]));

  await start('edge-1');
  second.kill('SIGTERM');
  const [code] = await once(second, 'exit');
  assert.equal(code, 0);
  assert.deepEqual(new Set(await many()), new Set([404]));
});
