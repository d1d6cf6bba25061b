/**
 * For end-to-end tests: a real Selvedge in a process of its own with a temporary data directory, the real wrangler, and clients that can
 * name any host. Everything is cleaned up by `close`, also when the test process itself dies.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { request as httpsRequest } from 'node:https';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { SecureVersion } from 'node:tls';
import { WebSocket } from 'ws';

const ROOT = join(import.meta.dirname, '..');
const WRANGLER = join(dirname(createRequire(import.meta.url).resolve('wrangler/package.json')), 'bin', 'wrangler.js');
const START_TIMEOUT_MS = 60_000;
const WRANGLER_TIMEOUT_MS = 120_000;
const REQUEST_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 30_000;

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  bytes: Buffer;
  text: string;
  json<T = any>(): T;
}

export interface RequestOptions {
  method?: string;
  headers?: Record<string, string | string[]>;
  body?: string | Buffer;
}

export interface TlsOptions extends RequestOptions {
  http2?: boolean;
  minVersion?: SecureVersion;
  maxVersion?: SecureVersion;
}

export interface Finished {
  code: number | null;
  stdout: string;
  stderr: string;
}

export interface Edge {
  http: number;
  https: number;
  apiUrl: string;
  accountId: string;
  token: string;
  subdomain: string;
  workersDomain: string;
  dataDir: string;
  pid: number;
  /** Path of the configuration, if there is one. */
  configFile: string;
  /** All that `selvedge up` printed. */
  output(): string;
  /** Host of a Worker below the workers domain. */
  host(script: string): string;
  request(host: string, path?: string, options?: RequestOptions): Promise<Answer>;
  tls(host: string, path?: string, options?: TlsOptions): Promise<Answer>;
  websocket(host: string, path?: string, protocols?: string[]): Promise<WebSocket>;
  /** A call of the control API; the path is relative to /client/v4. */
  api(
    path: string,
    options?: { method?: string; body?: unknown; token?: string | null },
  ): Promise<{ status: number; body: any }>;
  /** Runs the real wrangler in `cwd` with a clean environment. */
  wrangler(args: string[], options?: WranglerOptions): Promise<Finished>;
  /** The same; fails with wrangler's output if it does not succeed. Returns standard output. */
  deployed(args: string[], options?: WranglerOptions): Promise<string>;
  /** Starts wrangler without waiting for it. */
  wranglerProcess(args: string[], options?: WranglerOptions): ChildProcess;
  /** A project directory with these files; `config` becomes wrangler.jsonc. */
  project(config: Record<string, unknown>, files: Record<string, string | Buffer>): Promise<string>;
  selvedge(args: string[]): Promise<Finished>;
  /** Signals the `up` process and waits for its end. */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
  /** Stops, and removes the data directory. */
  close(): Promise<void>;
}

export interface WranglerOptions {
  cwd?: string;
  input?: string;
  env?: Record<string, string>;
}

/** Starts a Selvedge on free ports. `dataDir`: an existing one is used again and left in place. `config`: its configuration file. */
export async function startEdge(
  options: { args?: string[]; dataDir?: string; env?: Record<string, string>; config?: Record<string, unknown> } = {},
): Promise<Edge> {
  const scratch = await mkdtemp(join(tmpdir(), 'selvedge-test-'));
  const dataDir = options.dataDir ?? join(scratch, 'data');
  const ports = ['--http', '0', '--https', '0', '--api', '0', '--s3', '0'];
  const configFile = join(scratch, 'selvedge.jsonc');
  if (options.config) {
    await writeFile(configFile, JSON.stringify(options.config));
    ports.push('--config', configFile);
  }
  const child = spawn(
    process.execPath,
    [join(ROOT, 'bin/selvedge.js'), 'up', '--data', dataDir, ...ports, ...(options.args ?? [])],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...options.env },
    },
  );
  const guard = () => child.kill('SIGTERM');
  process.once('exit', guard);
  let output = '';
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.setEncoding('utf8');
    stream.on('data', (text: string) => {
      output += text;
    });
  }
  const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
  await ready(child, () => output);
  const running = JSON.parse(readFileSync(join(dataDir, 'running.json'), 'utf8'));
  const env = readEnv(join(dataDir, 'wrangler.env'));
  const ca = readFileSync(join(dataDir, 'tls', 'ca.pem'));
  const home = join(scratch, 'home');
  await mkdir(home);

  const edge: Edge = {
    http: running.http,
    https: running.https,
    apiUrl: env.CLOUDFLARE_API_BASE_URL!,
    accountId: running.accountId,
    token: env.CLOUDFLARE_API_TOKEN!,
    subdomain: running.subdomain,
    workersDomain: running.workersDomain,
    dataDir,
    pid: running.pid,
    configFile,
    output: () => output,
    host: (script) => `${script}.${running.subdomain}.${running.workersDomain}`,
    request: (host, path = '/', init = {}) => overHttp1(httpRequest, { port: running.http }, host, path, init),
    tls: (host, path = '/', { http2, minVersion, maxVersion, ...init } = {}) =>
      http2
        ? overHttp2(running.https, ca, host, path, init)
        : overHttp1(
            httpsRequest,
            { port: running.https, servername: host, ca, minVersion, maxVersion },
            host,
            path,
            init,
          ),
    websocket: (host, path = '/', protocols = []) =>
      new Promise((resolve, reject) => {
        const socket = new WebSocket(`ws://127.0.0.1:${running.http}${path}`, protocols, { headers: { host } });
        socket.once('open', () => resolve(socket));
        socket.once('error', reject);
      }),
    async api(path, { method = 'GET', body, token = env.CLOUDFLARE_API_TOKEN } = {}) {
      const response = await fetch(`${env.CLOUDFLARE_API_BASE_URL}${path}`, {
        method,
        headers: {
          ...(token === null ? {} : { authorization: `Bearer ${token}` }),
          ...(body instanceof FormData ? {} : { 'content-type': 'application/json' }),
        },
        body: body === undefined ? undefined : body instanceof FormData ? body : JSON.stringify(body),
        signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
      });
      return { status: response.status, body: await response.json() };
    },
    wranglerProcess: (args, { cwd = home, env: more = {} } = {}) =>
      spawn(process.execPath, [WRANGLER, ...args], {
        cwd,
        stdio: ['pipe', 'pipe', 'pipe'],
        env: { PATH: process.env.PATH ?? '', HOME: home, CI: '1', NO_COLOR: '1', FORCE_COLOR: '0', ...env, ...more },
      }),
    wrangler: (args, wranglerOptions = {}) =>
      finish(edge.wranglerProcess(args, wranglerOptions), WRANGLER_TIMEOUT_MS, wranglerOptions.input),
    async deployed(args, wranglerOptions) {
      const { code, stdout, stderr } = await edge.wrangler(args, wranglerOptions);
      if (code !== 0)
        throw new Error(`wrangler ${args.join(' ')} ended with ${code}:\n${stdout}\n${stderr}\n${output.slice(-2000)}`);
      return stdout;
    },
    async project(config, files) {
      const directory = await mkdtemp(join(scratch, 'project-'));
      await writeFile(join(directory, 'wrangler.jsonc'), JSON.stringify(config, null, 2));
      for (const [name, content] of Object.entries(files)) {
        await mkdir(dirname(join(directory, name)), { recursive: true });
        await writeFile(join(directory, name), content);
      }
      // npm dependencies of the projects are those of the repository: nothing is installed.
      await symlink(join(ROOT, 'node_modules'), join(directory, 'node_modules'));
      return directory;
    },
    selvedge: (args) => selvedge([...args, '--data', dataDir]),
    async stop(signal = 'SIGTERM') {
      child.kill(signal);
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
      const code = await exited;
      clearTimeout(timer);
      process.off('exit', guard);
      return code;
    },
    async close() {
      await edge.stop();
      // Processes whose supervisor was killed may still be writing.
      await rm(scratch, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
    },
  };
  return edge;
}

/** Runs the command `selvedge` to its end. */
export function selvedge(args: string[], env: Record<string, string> = {}): Promise<Finished> {
  const child = spawn(process.execPath, [join(ROOT, 'bin/selvedge.js'), ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  });
  return finish(child, START_TIMEOUT_MS);
}

/** Asks again until `check` gives something, at most for `timeoutMs`; for what becomes true by itself. */
export async function eventually<T>(
  check: () => Promise<T | undefined | false> | T | undefined | false,
  timeoutMs = 15_000,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const value = await check();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`not true within ${timeoutMs} ms: ${check}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function ready(child: ChildProcess, output: () => string): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (!output().includes('Selvedge is running.')) {
    if (child.exitCode !== null) throw new Error(`selvedge up ended with ${child.exitCode}:\n${output()}`);
    if (Date.now() > deadline) {
      child.kill('SIGKILL');
      throw new Error(`selvedge up is not ready after ${START_TIMEOUT_MS} ms:\n${output()}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function readEnv(path: string): Record<string, string> {
  if (!existsSync(path)) throw new Error(`${path} was not written`);
  return Object.fromEntries(
    [...readFileSync(path, 'utf8').matchAll(/^export (\w+)="(.*)"$/gm)].map((match) => [match[1]!, match[2]!]),
  );
}

function finish(child: ChildProcess, timeoutMs: number, input?: string): Promise<Finished> {
  const finished: Finished = { code: null, stdout: '', stderr: '' };
  child.stdout!.setEncoding('utf8').on('data', (text: string) => {
    finished.stdout += text;
  });
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    finished.stderr += text;
  });
  child.stdin?.end(input ?? '');
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      clearTimeout(timer);
      resolve({ ...finished, code });
    });
  });
}

function answer(status: number, headers: IncomingHttpHeaders, bytes: Buffer): Answer {
  const text = bytes.toString();
  return { status, headers, bytes, text, json: () => JSON.parse(text) };
}

function overHttp1(
  ask: typeof httpRequest | typeof httpsRequest,
  target: Record<string, unknown>,
  host: string,
  path: string,
  { method = 'GET', headers = {}, body }: RequestOptions,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = ask(
      {
        host: '127.0.0.1',
        agent: false,
        path,
        method,
        headers: { host, ...headers },
        timeout: REQUEST_TIMEOUT_MS,
        ...target,
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => resolve(answer(response.statusCode ?? 0, response.headers, Buffer.concat(chunks))));
        response.on('error', reject);
      },
    );
    asked.on('timeout', () => asked.destroy(new Error(`no answer from ${host}${path}`)));
    asked.on('error', reject);
    asked.end(body);
  });
}

function overHttp2(
  port: number,
  ca: Buffer,
  host: string,
  path: string,
  { method = 'GET', headers = {}, body }: RequestOptions,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const session = connectHttp2(`https://127.0.0.1:${port}`, { ca, servername: host });
    session.on('error', reject);
    const stream = session.request({ ':method': method, ':path': path, ':authority': host, ...headers });
    let head: Record<string, any> = {};
    const chunks: Buffer[] = [];
    stream.on('response', (received) => {
      head = received;
    });
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('error', reject);
    stream.on('end', () => {
      session.close();
      resolve(answer(Number(head[':status']), head as IncomingHttpHeaders, Buffer.concat(chunks)));
    });
    stream.end(body);
  });
}
