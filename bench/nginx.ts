/** nginx with one worker process as a reverse proxy before something that speaks HTTP/1.1: what the edge is measured against. */
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Edge } from '../test/harness.ts';
import { answering, freePort, isolates, stopped } from './lib.ts';
import { openFilesLimit, withSbin } from './programs.ts';

export interface Nginx {
  http: number;
  https: number;
  /** The worker process. */
  worker: number;
  stop(): Promise<void>;
}

/** The socket of a Worker's only process on this edge, as an upstream of nginx: both pass requests to the very same workerd. */
export async function upstreamOf(edge: Edge, script: string): Promise<string> {
  const { runDir } = JSON.parse(readFileSync(join(edge.dataDir, 'running.json'), 'utf8'));
  const found = (await isolates(edge)).filter((each) => each.script === script && each.state === 'running');
  if (found.length !== 1) throw new Error(`${found.length} processes of ${script} run, one was expected`);
  return `unix:${join(runDir, 'i', found[0]!.id, 'own', 'm.sock')}`;
}

/** The certificate that the edge shows for a host, and its key: the same for nginx. It is made at the first handshake. */
async function certificateOf(edge: Edge, host: string): Promise<{ cert: string; key: string }> {
  await edge.tls(host);
  return JSON.parse(readFileSync(join(edge.dataDir, 'tls', 'hosts', `${host}.json`), 'utf8'));
}

/**
 * Starts nginx before `upstream` ("unix:<path>" or "<address>:<port>") with the edge's certificate of `host`. What the edge does for
 * every request it does too: forwarding headers, kept connections to the upstream, a JSON access log.
 */
export async function nginxBefore(upstream: string, edge: Edge, host: string): Promise<Nginx> {
  const directory = mkdtempSync(join(tmpdir(), 'selvedge-bench-nginx-'));
  const http = await freePort();
  const https = await freePort();
  const { cert, key } = await certificateOf(edge, host);
  writeFileSync(join(directory, 'cert.pem'), cert);
  writeFileSync(join(directory, 'key.pem'), key, { mode: 0o600 });
  writeFileSync(join(directory, 'nginx.conf'), configuration(directory, upstream, http, https));
  mkdirSync(join(directory, 'logs'));
  const child = spawn('nginx', ['-p', directory, '-c', join(directory, 'nginx.conf'), '-e', 'stderr'], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: withSbin(),
  });
  child.on('error', (error) => console.error(error.message));
  const nginx = {
    http,
    https,
    worker: 0,
    async stop() {
      await stopped(child);
      rmSync(directory, { recursive: true, force: true });
    },
  };
  try {
    await answering(http);
    nginx.worker = childOf(child.pid!);
    return nginx;
  } catch (error) {
    await nginx.stop();
    throw error;
  }
}

/** nginx that serves files of a directory and stores what is PUT there. */
export async function nginxFiles(files: string): Promise<{ http: number; stop(): Promise<void> }> {
  const directory = mkdtempSync(join(tmpdir(), 'selvedge-bench-nginx-'));
  const http = await freePort();
  writeFileSync(
    join(directory, 'nginx.conf'),
    `${process.getuid?.() === 0 ? 'user root;' : ''}
daemon off;
worker_processes 1;
pid ${directory}/nginx.pid;
error_log stderr error;
events {}
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  client_max_body_size 0;
  client_body_temp_path ${files}/tmp;
  server {
    listen 127.0.0.1:${http};
    root ${files};
    dav_methods PUT;
  }
}
`,
  );
  mkdirSync(join(directory, 'logs'));
  const child = spawn('nginx', ['-p', directory, '-c', join(directory, 'nginx.conf'), '-e', 'stderr'], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: withSbin(),
  });
  child.on('error', (error) => console.error(error.message));
  const stop = async () => {
    await stopped(child);
    rmSync(directory, { recursive: true, force: true });
  };
  await answering(http).catch(async (error) => {
    await stop();
    throw error;
  });
  return { http, stop };
}

function configuration(directory: string, upstream: string, http: number, https: number): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `  ${name}_temp_path ${directory}/${name};`)
    .join('\n');
  return `${process.getuid?.() === 0 ? 'user root;' : ''}
daemon off;
worker_processes 1;
worker_rlimit_nofile ${openFilesLimit()};
pid ${directory}/nginx.pid;
error_log stderr error;
events { worker_connections 16384; }
http {
${temporary}
  log_format json escape=json '{"time":"$time_iso8601","ray":"$request_id","ip":"$remote_addr","method":"$request_method","host":"$host",'
    '"path":"$uri","status":$status,"bytes":$bytes_sent,"ms":$request_time,"upstreamMs":"$upstream_response_time"}';
  access_log ${directory}/access.log json buffer=64k flush=1s;
  keepalive_timeout 300s;
  keepalive_requests 100000000;
  client_max_body_size 0;
  upstream worker {
    server ${upstream};
    keepalive 512;
    keepalive_requests 100000000;
    keepalive_timeout 3s;
  }
  server {
    listen 127.0.0.1:${http} backlog=4096;
    listen 127.0.0.1:${https} ssl http2 backlog=4096;
    ssl_certificate ${directory}/cert.pem;
    ssl_certificate_key ${directory}/key.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:tls:10m;
    location / {
      proxy_pass http://worker;
      proxy_http_version 1.1;
      proxy_request_buffering off;
      proxy_set_header Connection $upgrade_or_empty;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Host $host;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
    }
  }
  map $http_upgrade $upgrade_or_empty { default upgrade; '' ''; }
}
`;
}

/** The only child of a process. */
function childOf(pid: number): number {
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      if (Number(/^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${name}/status`, 'utf8'))![1]) === pid)
        return Number(name);
    } catch {
      // It has ended meanwhile.
    }
  }
  throw new Error(`process ${pid} has no child`);
}
