/** Sockets of the edge: several addresses, unix sockets, sockets of systemd, reload and restart without a lost connection. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { parseListen } from '../src/config/listen.ts';
import { openSockets } from '../src/pop/sockets.ts';
import { eventually, selvedge, startEdge } from './harness.ts';

const directory = mkdtempSync(join(tmpdir(), 'selvedge-sockets-'));
after(() => rmSync(directory, { recursive: true, force: true }));

interface Target {
  port?: number;
  host?: string;
  socketPath?: string;
}

/** One request on a connection of its own. */
function ask(target: Target, name: string): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const asked = request({ ...target, headers: { host: name }, agent: false }, (response: IncomingMessage) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode!, text })).on('error', reject);
    });
    asked.on('error', reject).end();
  });
}

/** Asks without a pause on `lanes` connections at a time until stopped; tells all that went wrong. */
function keepAsking(target: Target, name: string, lanes: number) {
  let running = true;
  let answered = 0;
  const failures: string[] = [];
  const lane = async () => {
    while (running) {
      await ask(target, name).then(
        ({ status }) => (status === 200 ? answered++ : failures.push(String(status))),
        (error: NodeJS.ErrnoException) => failures.push(error.code ?? error.message),
      );
    }
  };
  const done = Promise.all(Array.from({ length: lanes }, lane));
  return {
    get answered() {
      return answered;
    },
    async stop() {
      running = false;
      await done;
      return failures;
    },
  };
}

describe('one edge with several sockets', async () => {
  const socketPath = join(directory, 'edge.sock');
  const edge = await startEdge({
    args: ['--edges', '2'],
    config: {
      listen: { http: ['127.0.0.1:0', '[::1]:0', `unix:${socketPath}`] },
      limits: { header_count: 100 },
    },
  });
  after(() => edge.close());
  const welcome = edge.host('welcome');

  it('answers at IPv4, IPv6 and the unix socket', async () => {
    const ipv6 = Number(/http \[::1\]:(\d+)/.exec(edge.output())![1]);
    for (const target of [{ port: edge.http }, { host: '::1', port: ipv6 }, { socketPath }]) {
      assert.equal((await ask(target, welcome)).status, 200, JSON.stringify(target));
    }
  });

  it('takes its limits anew on SIGHUP, with new edge processes and no request lost', async () => {
    const manyHeaders = () =>
      edge.request(welcome, '/', {
        headers: Object.fromEntries(Array.from({ length: 60 }, (_, i) => [`x-${i}`, '1'])),
      });
    assert.equal((await manyHeaders()).status, 200);
    const load = keepAsking({ port: edge.http }, welcome, 8);
    writeFileSync(edge.configFile, JSON.stringify({ limits: { header_count: 40 } }));
    process.kill(edge.pid, 'SIGHUP');
    await eventually(() => edge.output().includes('Reloaded.'));
    assert.deepEqual(await load.stop(), []);
    assert.ok(load.answered > 0);
    assert.equal((await manyHeaders()).status, 431);
  });

  it('keeps its settings if the new ones are wrong, and says what is', async () => {
    writeFileSync(edge.configFile, '{ "limits": { "header_count": 0 } }');
    process.kill(edge.pid, 'SIGHUP');
    await eventually(() => /Not reloaded: .*:1:15: limits\.header_count/.test(edge.output()));
    assert.equal((await ask({ port: edge.http }, welcome)).status, 200);
  });
});

describe('sockets that systemd opened', () => {
  it('are served, and keep connections waiting while Selvedge restarts', async () => {
    // Bound, passed on, never accepted from: as systemd does.
    const holder = await openSockets(
      [{ scheme: 'http', proxyProtocol: false, address: parseListen('127.0.0.1:0') }],
      1,
    );
    const [fd] = holder.fdsOf(0);
    const { port } = holder.listeners[0]!;
    const data = join(directory, 'activated');
    const config = join(directory, 'activated.jsonc');
    writeFileSync(
      config,
      JSON.stringify({ listen: { http: ['systemd:web'], https: ['127.0.0.1:0'], api: '127.0.0.1:0' } }),
    );
    const start = async (): Promise<ChildProcess> => {
      const child = spawn(
        'sh',
        // systemd says for which process the sockets are.
        [
          '-c',
          `LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web exec "$0" bin/selvedge.js up --config "$1" --data "$2"`,
          process.execPath,
          config,
          data,
        ],
        { stdio: ['ignore', 'pipe', 'inherit', fd], cwd: join(import.meta.dirname, '..') },
      );
      let output = '';
      child.stdout!.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
      await eventually(() => output.includes('Selvedge is running.'), 30_000);
      return child;
    };
    const stop = (child: ChildProcess) =>
      new Promise((resolve) => child.once('exit', resolve) && child.kill('SIGTERM'));
    let running = await start();
    const target = { host: '127.0.0.1', port };
    const name = 'welcome.edge.workers.localhost';
    try {
      const load = keepAsking(target, name, 4);
      await eventually(() => load.answered > 20);
      await stop(running);
      running = await start();
      const before = load.answered;
      await eventually(() => load.answered > before + 20);
      assert.deepEqual(await load.stop(), []);
    } finally {
      await stop(running);
      holder.close();
    }
  });

  it('are missed in one sentence', async () => {
    const config = join(directory, 'missing.jsonc');
    writeFileSync(config, JSON.stringify({ listen: { http: ['systemd:web'], api: '127.0.0.1:0' } }));
    const { code, stderr } = await selvedge(['up', '--config', config, '--data', join(directory, 'missing')]);
    assert.equal(code, 1);
    assert.match(stderr, /systemd:web: systemd has opened no socket/);
  });
});

describe('TLS sessions', () => {
  it('are resumed whichever edge process a client reaches', async () => {
    const edge = await startEdge({ args: ['--edges', '2'] });
    after(() => edge.close());
    const name = edge.host('welcome');
    const connectOnce = (session?: Buffer): Promise<{ ticket: Buffer | undefined; reused: boolean }> =>
      new Promise((resolve, reject) => {
        const socket = connectTls({
          port: edge.https,
          host: '127.0.0.1',
          servername: name,
          rejectUnauthorized: false,
          session,
        });
        let ticket: Buffer | undefined;
        let reused = false;
        socket.once('error', reject);
        socket.on('secureConnect', () => {
          reused = socket.isSessionReused();
        });
        socket.on('session', (given: Buffer) => {
          ticket = given;
        });
        // Tickets come behind the handshake, with what is read.
        socket.write(`GET / HTTP/1.1\r\nHost: ${name}\r\nConnection: close\r\n\r\n`);
        socket.resume();
        socket.once('close', () => resolve({ ticket, reused }));
      });
    const { ticket } = await connectOnce();
    assert.ok(ticket);
    // One that the other process did not take would have a chance of 1 in 2^16.
    for (let i = 0; i < 16; i++) assert.ok((await connectOnce(ticket)).reused, `connection ${i}`);
  });
});
