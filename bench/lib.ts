/** What the rows of the benchmark share: load, medians, workerd alone, a Worker put up by the API. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type Agent, request } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { workerdPath } from '../src/pop/isolates/workerd.ts';
import type { Edge } from '../test/harness.ts';
import { wrk } from './programs.ts';

/** One row of the table. `measured` and `detail` are texts for it; `met` says whether the goal is reached. */
export interface Row {
  what: string;
  against: string;
  goal: string;
  /** Programs that have to be installed. */
  needs?: string[];
  run(): Promise<{ measured: string; detail: string; met: boolean }>;
}

export const HELLO = 'export default { fetch() { return new Response("Hello World!") } }';
const LOAD_SECONDS = 4;

export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export function percentile(values: number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

/** Requests a second by wrk: one thread, 64 connections. Throws if answers other than 2xx come. */
export async function throughput(port: number, host: string): Promise<number> {
  return (await wrk(port, host, 64, LOAD_SECONDS)).perSecond;
}

/** Measures A and B in turns, so that a machine whose speed drifts harms both alike. Returns the medians and the median ratio. */
export async function interleaved(
  rounds: number,
  a: () => number | Promise<number>,
  b: () => number | Promise<number>,
) {
  const as: number[] = [];
  const bs: number[] = [];
  const ratios: number[] = [];
  for (let i = 0; i < rounds; i++) {
    as.push(await a());
    bs.push(await b());
    ratios.push(as.at(-1)! / bs.at(-1)!);
  }
  return { a: median(as), b: median(bs), ratio: median(ratios) };
}

/** The same with a class of Durable Objects, on disk. */
export function workerdWithObject(source: string, binding: string, className: string) {
  return workerdAlone(source, {
    service: '(name = "disk", disk = (path = "objects", writable = true)),',
    worker: `, durableObjectNamespaces = [(className = "${className}", uniqueKey = "bench", enableSql = true)],
      durableObjectStorage = (localDisk = "disk"), bindings = [(name = "${binding}", durableObjectNamespace = "${className}")]`,
  });
}

/** workerd itself on a TCP port with one Worker. `more`: text of its configuration. */
export async function workerdAlone(
  source: string,
  more = { service: '', worker: '' },
): Promise<{ port: number; stop(): void }> {
  const directory = mkdtempSync(join(tmpdir(), 'selvedge-bench-'));
  const port = await freePort();
  mkdirSync(join(directory, 'objects'));
  writeFileSync(join(directory, 'w.js'), source);
  writeFileSync(
    join(directory, 'c.capnp'),
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "internet", external = (address = "unix:none.sock", http = ())),
    ${more.service}
    (name = "w", worker = (modules = [(name = "w.js", esModule = embed "w.js")], compatibilityDate = "2026-11-01"${more.worker}))
  ],
  sockets = [(name = "h", address = "127.0.0.1:${port}", http = (), service = "w")]
);`,
  );
  const child = spawn(workerdPath(), ['serve', '--experimental', 'c.capnp'], { cwd: directory, stdio: 'ignore' });
  await answering(port);
  return {
    port,
    stop() {
      child.kill('SIGKILL');
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Waits until something answers HTTP on the port. */
export async function answering(port: number, timeoutMs = 60_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    try {
      await ask(port, 'localhost');
      return;
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

/** One request; resolves with status, text, and ms from its start to the first byte of the answer. */
export function ask(
  port: number,
  host: string,
  agent: Agent | false = false,
): Promise<{ status: number; text: string; ms: number }> {
  return new Promise((resolve, reject) => {
    const began = performance.now();
    const asked = request({ host: '127.0.0.1', port, agent, headers: { host }, timeout: 30_000 }, (response) => {
      const ms = performance.now() - began;
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text, ms })).on('error', reject);
    });
    asked.on('timeout', () => asked.destroy(new Error('no answer'))).on('error', reject);
    asked.end();
  });
}

/** Deploys by one API call and puts the Worker on its host. */
export async function put(
  edge: Edge,
  name: string,
  source: string,
  metadata: Record<string, unknown> = {},
): Promise<void> {
  const path = `/accounts/${edge.accountId}/workers/scripts/${name}`;
  const form = new FormData();
  form.set('metadata', JSON.stringify({ main_module: 'index.js', compatibility_date: '2026-11-01', ...metadata }));
  form.set('index.js', new File([source], 'index.js', { type: 'application/javascript+module' }));
  const { status, body } = await edge.api(path, { method: 'PUT', body: form });
  if (status !== 200) throw new Error(JSON.stringify(body));
  if (!onHost.has(`${edge.pid}/${name}`))
    await edge.api(`${path}/subdomain`, { method: 'POST', body: { enabled: true } });
  onHost.add(`${edge.pid}/${name}`);
}
const onHost = new Set<string>();

interface Status {
  processes: { name: string; pid: number }[];
  isolates: { id: string; script: string; pid: number; state: string }[];
}

async function statusOf(edge: Edge): Promise<Status> {
  const response = await fetch(`${edge.apiUrl.replace('/client/v4', '')}/selvedge/status`, {
    headers: { authorization: `Bearer ${edge.token}` },
  });
  return ((await response.json()) as { result: Status }).result;
}

/** The isolate processes of this edge. */
export async function isolates(edge: Edge): Promise<Status['isolates']> {
  return (await statusOf(edge)).isolates;
}

/** Its edge processes. */
export async function edgePids(edge: Edge): Promise<number[]> {
  const { processes } = await statusOf(edge);
  return processes.filter(({ name }) => name.startsWith('edge-')).map(({ pid }) => pid);
}

export function stopped(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    child.once('exit', () => resolve());
    child.kill('SIGTERM');
    setTimeout(() => child.kill('SIGKILL'), 3_000).unref();
  });
}
