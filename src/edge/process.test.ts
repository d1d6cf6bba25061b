/** Two real edge processes share their ports; each may die alone. */
import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { type IncomingMessage, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { parseListen } from '../config/listen.ts';
import { testSettings } from '../config/testing.ts';
import { openSockets } from '../pop/sockets.ts';
import { createHub } from '../state/local-bus.ts';
import { until } from './testing.ts';

const directory = await mkdtemp(join(tmpdir(), 'selvedge-edges-'));
const hub = createHub();
const ready = new Map<string, number>();
const edges = new Map<string, ChildProcess>();
hub.respond('local.snapshot', () => ({ changes: [], isolates: [] }));
hub.respond('local.ticket-keys', () => ({ keys: Buffer.alloc(48, 7).toString('base64') }));
hub.subscribe('local.ready', ({ name, pid }) => ready.set(name, pid));
after(async () => {
  for (const child of edges.values()) child.kill('SIGKILL');
  await hub.close();
  await rm(directory, { recursive: true });
});

async function ask(port: number): Promise<number | undefined> {
  const sent = request({ host: '127.0.0.1', port, headers: { host: 'nobody.example' }, agent: false }).end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  response.resume();
  return response.statusCode;
}

it('edge processes share their ports, and the others serve on when one is killed or stopped', async () => {
  const spec = { proxyProtocol: false, address: parseListen('127.0.0.1:0') };
  const sockets = await openSockets(
    [
      { ...spec, scheme: 'http' },
      { ...spec, scheme: 'https' },
    ],
    2,
  );
  after(() => sockets.close());
  const listeners = sockets.listeners.map(({ scheme, proxyProtocol, name }) => ({ scheme, proxyProtocol, name }));
  const settings = testSettings(directory, { listeners });
  const start = async (slot: number) => {
    const name = `edge-${slot}`;
    const env = { ...process.env, SELVEDGE_SETTINGS: JSON.stringify(settings), SELVEDGE_PROCESS: name };
    const stdio = ['ignore', 'inherit', 'inherit', 'ipc', ...sockets.fdsOf(slot)] as const;
    const child = fork(join(import.meta.dirname, 'process.ts'), { env, stdio: [...stdio] });
    edges.set(name, child);
    hub.attach(child);
    await until(() => ready.get(name) === child.pid, `${name} is ready`);
    return child;
  };
  const [first, second] = await Promise.all([start(0), start(1)]);
  const { port } = sockets.listeners[0]!;
  const many = () => Promise.all(Array.from({ length: 40 }, () => ask(port!)));
  assert.deepEqual(new Set(await many()), new Set([404]));

  first.kill('SIGKILL');
  await once(first, 'exit');
  // Connections to the socket of the one that is gone wait for the one that takes its place.
  const meanwhile = many();
  await start(0);
  assert.deepEqual(new Set(await meanwhile), new Set([404]));

  second.kill('SIGTERM');
  const [code] = await once(second, 'exit');
  assert.equal(code, 0);
  const waiting = many();
  await start(1);
  assert.deepEqual(new Set(await waiting), new Set([404]));
});
