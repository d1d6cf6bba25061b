/**
 * The listening sockets of the edges. The supervisor binds them and never accepts; edge processes inherit the descriptors. So a connection
 * that waits to be accepted survives the death and the replacement of an edge process, and only the supervisor needs the right to bind
 * ports below 1024.
 *
 * A TCP address is bound once per edge process with SO_REUSEPORT, and the kernel spreads connections over them (socket(7)); whoever takes
 * an edge's place takes its sockets. A unix socket, and one that systemd opened, is shared by all edges.
 */
import { chmodSync, lstatSync, rmSync } from 'node:fs';
import net, { connect } from 'node:net';
import { type ListenAddress, printListen } from '../config/listen.ts';
import type { ListenSpec } from '../config/settings.ts';
import type { ListenerSettings } from '../model/settings.ts';

/** libuv's UV_TCP_REUSEPORT. */
const REUSEPORT = 2;
/** As nginx makes them: the directory says who may come near. */
const UNIX_MODE = 0o666;
/** systemd hands over descriptors from this number on (sd_listen_fds(3)). */
const FIRST_SYSTEMD_FD = 3;

/** What Node's own cluster module binds with; it has no public name. The Node version is pinned, and tests cover this. */
interface Handle {
  readonly fd: number;
  getsockname(out: { port?: number }): number;
  close(): void;
}
const createHandle = (net as unknown as { _createServerHandle: (...args: unknown[]) => Handle | number })
  ._createServerHandle;

/** One listener that is bound: descriptors by edge slot. */
export interface OpenListener extends ListenerSettings {
  /** TCP only. */
  host?: string;
  port?: number;
  /** Index: slot of the edge process. */
  fds: number[];
}

export interface Sockets {
  readonly listeners: OpenListener[];
  /** Descriptors for an edge process, in the order of `listeners`. */
  fdsOf(slot: number): number[];
  /** Unbinds all that this process bound; unix socket files are removed. */
  close(): void;
}

/** Binds. `slots`: edge processes. Throws one sentence that says which address and why; then nothing stays bound. */
export async function openSockets(specs: ListenSpec[], slots: number): Promise<Sockets> {
  const handles: Handle[] = [];
  const files: string[] = [];
  const listeners: OpenListener[] = [];
  let option = '';
  const close = () => {
    for (const handle of handles.splice(0)) handle.close();
    for (const file of files.splice(0)) rmSync(file, { force: true });
  };
  const bind = (address: ListenAddress, ...args: unknown[]): Handle => {
    const made = createHandle(...args);
    if (typeof made === 'number') throw refusal(address, made, option);
    handles.push(made);
    return made;
  };
  try {
    for (const { scheme, proxyProtocol, address } of specs) {
      option = `--${scheme}`;
      const listener: OpenListener = { scheme, proxyProtocol, name: printListen(address), fds: [] };
      switch (address.kind) {
        case 'systemd':
          listener.fds = Array<number>(slots).fill(systemdFd(address.name));
          break;
        case 'unix': {
          await removeStale(address.path);
          const handle = bind(address, address.path, -1, -1);
          files.push(address.path);
          chmodSync(address.path, UNIX_MODE);
          listener.fds = Array<number>(slots).fill(handle.fd);
          break;
        }
        default: {
          const { host } = address;
          let { port } = address;
          // Without this, SO_REUSEPORT would share the port with any other program of this user.
          if (port !== 0) await assertFree(address, option);
          for (let slot = 0; slot < slots; slot++) {
            const handle = bind(address, host, port, host.includes(':') ? 6 : 4, undefined, REUSEPORT);
            const bound: { port?: number } = {};
            // libuv tells of a port that is taken only later; then the socket has no name.
            if (handle.getsockname(bound) !== 0 || !bound.port) throw refusal(address, 'EADDRINUSE', option);
            port = bound.port;
            listener.fds.push(handle.fd);
          }
          Object.assign(listener, { host, port, name: printListen({ kind: 'tcp', host, port }) });
        }
      }
      listeners.push(listener);
    }
  } catch (error) {
    close();
    throw error;
  }
  return { listeners, fdsOf: (slot) => listeners.map(({ fds }) => fds[slot]!), close };
}

/** The descriptor that systemd opened under this name or number. Throws what is missing. */
function systemdFd(name: string): number {
  const { LISTEN_FDS, LISTEN_FDNAMES } = process.env;
  const count = Number(LISTEN_FDS ?? 0);
  if (!(count > 0))
    throw new Error(`systemd:${name}: systemd has opened no socket for this process (LISTEN_FDS is not set)`);
  const names = (LISTEN_FDNAMES ?? '').split(':');
  const index = /^\d+$/.test(name) ? Number(name) : names.indexOf(name);
  if (index < 0 || index >= count)
    throw new Error(`systemd:${name}: systemd has opened ${count} sockets, named ${names.join(', ') || 'nothing'}`);
  return FIRST_SYSTEMD_FD + index;
}

/** A socket file that nobody answers is what a killed predecessor left. */
async function removeStale(path: string): Promise<void> {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (!stat) return;
  if (!stat.isSocket()) throw new Error(`unix:${path}: there is a file of that name which is no socket`);
  const answered = await new Promise<boolean>((resolve) => {
    const probe = connect(path);
    probe.once('connect', () => resolve(true)).once('error', () => resolve(false));
    probe.once('connect', () => probe.destroy());
  });
  if (answered) throw new Error(`unix:${path}: another program listens there: stop it, or choose another path`);
  rmSync(path);
}

function assertFree(address: ListenAddress & { kind: 'tcp' }, option: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const probe = net.createServer((socket) => socket.destroy());
    probe.once('error', (error: NodeJS.ErrnoException) =>
      reject(refusal(address, error.code ?? error.message, option)),
    );
    probe.listen({ host: address.host, port: address.port, exclusive: true }, () => probe.close(() => resolve()));
  });
}

/** `error`: libuv's negative number, or the code. `option`: what chooses another place. */
function refusal(address: ListenAddress, error: number | string, option: string): Error {
  const name = printListen(address);
  const code =
    typeof error === 'string' ? error : (process.getBuiltinModule('util').getSystemErrorName(error) ?? String(error));
  switch (code) {
    case 'EADDRINUSE':
      return new Error(`${name} is in use by another program: stop it, or choose another by ${option}`);
    case 'EACCES':
      return new Error(
        address.kind === 'tcp'
          ? `${name}: ports below 1024 need the capability CAP_NET_BIND_SERVICE or sockets that systemd opens (systemd:name); do not run as root for that`
          : `${name}: this user may not make a socket there`,
      );
    case 'EADDRNOTAVAIL':
      return new Error(`${name}: the address is not one of this machine's`);
    default:
      return new Error(`${name} cannot be listened on: ${code}`);
  }
}
