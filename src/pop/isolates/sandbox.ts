/**
 * The sandbox of an isolate process: which level this machine gives, and the command line of each. All levels: cleared environment, no
 * new privileges, no capabilities, no core files, a bounded number of files, death with the supervisor. As root each process gets an
 * unprivileged uid of its own. There is no system-call filter: making one needs a compiler or a prebuilt binary.
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import type { Settings } from '../../model/settings.ts';
import { OBJECTS_DIRECTORY } from '../../products/durable-objects/binding.ts';
import { makeDirectory, type ObjectDirectory, OWN } from './directory.ts';
import { workerdPath } from './workerd.ts';

export type SandboxLevel = 'bubblewrap' | 'namespaces' | 'plain';

const LEVELS: SandboxLevel[] = ['bubblewrap', 'namespaces', 'plain'];
const NAMES: Record<SandboxLevel, string> = {
  bubblewrap: 'no network, no host files but system libraries, own process table',
  namespaces: 'no network, own process table; host files are visible to who breaks out of the runtime',
  plain: 'no new privileges only',
};
const MAX_FILES = 16_384;
/** Uids of isolate processes when the supervisor is root: a range that no distribution assigns. */
const FIRST_UID = 1_600_000_000;
const UIDS = 65_536;
const TRY_TIMEOUT_MS = 5_000;
/** Arguments: how many mounts, what to mount and where for each, and the command. They are seen in the process's own name space only. */
const MOUNT_AND_RUN =
  'n=$1; shift; while [ "$n" -gt 0 ]; do mount --bind "$1" "$2" || exit 1; shift 2; n=$((n-1)); done; exec "$@"';

export interface Sandbox {
  level: SandboxLevel;
  /** What was found, a line each, for `doctor` and the start-up lines. */
  details: string[];
  /** Processes get a uid of their own (the supervisor is root). */
  ownUid: boolean;
}

/** Command line of one process. */
export interface SandboxCommand {
  command: string;
  args: string[];
}

/** The uid of the n-th process, null if the supervisor cannot give one. */
export function uidOf(index: number): number | null {
  return process.getuid?.() === 0 ? FIRST_UID + (index % UIDS) : null;
}

/**
 * The uid of a process that has Durable Objects, the same at each start, because their files belong to it; null if the supervisor cannot give
 * one. Two Workers may have the same: neither sees the other's files.
 */
export function uidOfObjects(storage: string): number | null {
  return process.getuid?.() === 0 ? FIRST_UID + UIDS + (Number.parseInt(storage.slice(0, 8), 16) % UIDS) : null;
}

/** Tries the levels for real, strongest first, and returns the first that works; `wanted` allows that one only. Throws if none does. */
export async function detectSandbox(wanted: Settings['sandbox'] = 'auto'): Promise<Sandbox> {
  const details: string[] = [];
  const uid = uidOf(0);
  for (const level of wanted === 'auto' ? LEVELS : [wanted]) {
    const failure = await tryLevel(level, uid);
    if (failure === null) {
      details.push(`${level}: ${NAMES[level]}`);
      details.push(
        uid === null
          ? 'processes run under your own uid (only root can give each its own)'
          : 'each process has a uid of its own',
      );
      details.push('no system-call filter (seccomp)');
      return { level, details, ownUid: uid !== null };
    }
    details.push(`${level}: not available (${failure})`);
  }
  throw new Error(`no sandbox works here: ${details.join('; ')}`);
}

/**
 * The command that runs workerd with `args` in `directory` (made by `makeDirectory`), its working directory. `objects`: host directories of its
 * Durable Objects, which it sees as `do/<name>` there. Throws where the level cannot give it that.
 */
export function sandboxCommand(
  level: SandboxLevel,
  directory: string,
  uid: number | null,
  args: string[],
  objects: ObjectDirectory[] = [],
): SandboxCommand {
  const workerd = workerdPath();
  const drop = [
    '--no-new-privs',
    '--inh-caps=-all',
    ...(uid === null ? [] : [`--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--bounding-set=-all']),
  ];
  const files = maxFiles();
  const limits = ['--core=0', `--nofile=${files}:${files}`];
  if (level === 'bubblewrap') {
    // bubblewrap's own first process stays as the namespace's init: it dies with the supervisor and takes everything along. workerd
    // itself could not: the kernel forgets the death signal of a process that changes its uid (prctl(2), PR_SET_PDEATHSIG).
    // Nothing may end bubblewrap while it still sets up: its child would wait for its word for ever. So no --info-fd, whose reader may be
    // gone, and no death signal in front; who loses his supervisor before --die-with-parent counts ends with his standard input.
    const libraries = ['/lib', '/lib64', '/usr/lib', '/usr/lib64'].filter((path) => existsSync(path));
    const inside = uid === null ? ['/workerd'] : ['/setpriv', ...drop, '/workerd'];
    return {
      command: 'prlimit',
      args: [
        ...limits,
        // bubblewrap refuses to run with capabilities that somebody gave the supervisor for ports below 1024.
        ...['setpriv', '--inh-caps=-all'],
        'bwrap',
        ...(uid === null
          ? ['--unshare-all']
          : ['--unshare-pid', '--unshare-net', '--unshare-ipc', '--unshare-uts', '--unshare-cgroup-try']),
        ...['--die-with-parent', '--new-session', '--clearenv', '--cap-drop', 'ALL'],
        // Enough for setpriv to give up root inside; it drops these as well.
        ...(uid === null ? [] : ['--cap-add', 'CAP_SETUID', '--cap-add', 'CAP_SETGID', '--cap-add', 'CAP_SETPCAP']),
        ...libraries.flatMap((path) => ['--ro-bind', path, path]),
        ...['--ro-bind', workerd, '/workerd'],
        ...(uid === null ? [] : ['--ro-bind', '/usr/bin/setpriv', '/setpriv']),
        ...['--ro-bind', directory, '/s', '--bind', join(directory, OWN), `/s/${OWN}`],
        ...objects.flatMap(({ name, path }) => ['--bind', path, `/s/${OBJECTS_DIRECTORY}/${name}`]),
        ...['--chdir', '/s', '--remount-ro', '/', '--'],
        ...inside,
        ...args,
      ],
    };
  }
  const run = ['env', '-i', 'setpriv', '--pdeathsig=KILL', ...drop, workerd, ...args];
  if (level === 'namespaces') {
    const user = uid === null ? ['--user', '--map-current-user'] : [];
    const spaces = ['--net', '--mount', '--ipc', '--uts', '--pid', '--fork', '--kill-child=SIGKILL', '--mount-proc'];
    // unshare dies with the supervisor and takes its child along; the child's own signal is set anew after its uid has changed.
    const unshare = ['setpriv', '--pdeathsig=KILL', 'unshare', ...user, ...spaces];
    const mounts = objects.flatMap(({ name, path }) => [path, join(directory, OBJECTS_DIRECTORY, name)]);
    const mount = objects.length === 0 ? [] : ['sh', '-c', MOUNT_AND_RUN, 'sh', String(objects.length), ...mounts];
    return { command: 'prlimit', args: [...limits, ...unshare, ...mount, ...run] };
  }
  if (objects.length > 0) {
    throw new Error('Durable Objects need the sandbox bubblewrap or namespaces (selvedge doctor says how to get one)');
  }
  return { command: 'prlimit', args: [...limits, ...run] };
}

/** Only root can raise its own hard limit. */
function maxFiles(): number {
  const hard = /^Max open files\s+\d+\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
  return process.getuid?.() === 0 || hard === undefined ? MAX_FILES : Math.min(MAX_FILES, Number(hard));
}

/** Null if the level works, else why not. */
async function tryLevel(level: SandboxLevel, uid: number | null): Promise<string | null> {
  const parent = await mkdtemp(join(tmpdir(), 'selvedge-try-'));
  const directory = join(parent, 'i');
  try {
    if (uid !== null) await chmod(parent, 0o711);
    await makeDirectory(directory, uid);
    const { command, args } = sandboxCommand(level, directory, uid, ['--version']);
    const child = spawn(command, args, {
      cwd: directory,
      stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe'],
      timeout: TRY_TIMEOUT_MS,
    });
    child.on('error', () => undefined);
    const [output, errors] = await Promise.all([text(child.stdout!), text(child.stderr!)]);
    if (output.startsWith('workerd')) return null;
    return errors.trim().split('\n').at(-1) || 'it does not run';
  } finally {
    await rm(parent, { recursive: true, force: true });
  }
}
