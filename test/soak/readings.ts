/** What the soak test reads of the machine: the processes below one, their memory and descriptors, files; and its rules for them. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';

/** A reading of one process. Memory in bytes: what it shares with no other. */
export interface Reading {
  pid: number;
  command: string;
  /** Kind of descriptor ("socket", "pipe", "file", ...) -> how many are open. */
  descriptors: Record<string, number>;
}

/** Growth of what is alive after a garbage collection, between the middle third of the load and its last third. */
const LIVE_GROWTH_BYTES = 2 * 1024 * 1024;
/** The same of a process's whole memory: its heap breathes, and keeps what it once had for a while. Growth between the middle third of the load and its last third that is taken for the heap's own breathing. */
const GROWTH_SHARE = 0.2;
const GROWTH_BYTES = 24 * 1024 * 1024;
/** Descriptors that a process may have more at rest after the load than before, such as a kept connection. */
export const MORE_DESCRIPTORS = 3;

/** All processes that `root` started, and theirs, without itself. */
export function processesBelow(root: number): { pid: number; command: string }[] {
  const all = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => ofProcess(Number(name), readStat))
    .filter((stat) => stat !== undefined);
  const below = new Set([root]);
  // A child may have a lower number than its parent: until nothing is added.
  for (let size = 0; size !== below.size; ) {
    size = below.size;
    for (const { pid, parent } of all) if (below.has(parent)) below.add(pid);
  }
  below.delete(root);
  return all.filter(({ pid }) => below.has(pid)).map(({ pid, command }) => ({ pid, command }));
}

function readStat(pid: number): { pid: number; parent: number; command: string } {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const end = text.lastIndexOf(')');
  return {
    pid,
    command: text.slice(text.indexOf('(') + 1, end),
    parent: Number(text.slice(end + 2).split(' ')[1]),
  };
}

/** undefined if the process has ended meanwhile. */
export function privateBytes(pid: number): number | undefined {
  return ofProcess(pid, () => {
    let kilobytes = 0;
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    for (const match of text.matchAll(/^Private_(?:Clean|Dirty):\s+(\d+) kB$/gm)) kilobytes += Number(match[1]);
    return kilobytes * 1024;
  });
}

/** Open descriptors by kind; undefined if the process has ended meanwhile. */
export function descriptors(pid: number): Record<string, number> | undefined {
  return ofProcess(pid, () => {
    const counts: Record<string, number> = {};
    for (const fd of readdirSync(`/proc/${pid}/fd`)) {
      const target = ofProcess(pid, () => readlinkSync(`/proc/${pid}/fd/${fd}`));
      if (target === undefined) continue;
      const kind = /^(socket|pipe|anon_inode):/.exec(target)?.[1] ?? 'file';
      counts[kind] = (counts[kind] ?? 0) + 1;
    }
    return counts;
  });
}

/** Processes end while they are looked at. */
function ofProcess<T>(pid: number, read: (pid: number) => T): T | undefined {
  try {
    return read(pid);
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}

export function alive(pid: number): boolean {
  const stat = ofProcess(pid, () => readFileSync(`/proc/${pid}/stat`, 'utf8'));
  // A zombie has ended; whether its parent looks is another matter.
  return stat !== undefined && !/^\) Z/.test(stat.slice(stat.lastIndexOf(')')));
}

/** Files below a directory, relative to it; numbers of isolates are left out, so that two moments can be compared. */
export function filesBelow(directory: string, ignored: RegExp = /^$/): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1))
    .filter((file) => !ignored.test(file))
    .map((file) => file.replace(/^i\/[^/]+\//, 'i/*/'))
    .sort();
}

/** The same figure of the middle and of the last third of the samples, in bytes; the first third warms up. */
export interface Growth {
  early: number;
  late: number;
}

/** `figure` of a third: of what is alive the least, because bodies that are under way come on top; of all memory the median. */
export function growth(samples: number[], figure: 'least' | 'median'): Growth {
  const third = Math.floor(samples.length / 3);
  const of = (some: number[]) => some.sort((a, b) => a - b)[figure === 'least' ? 0 : some.length >> 1] ?? Number.NaN;
  return { early: of(samples.slice(third, 2 * third)), late: of(samples.slice(2 * third)) };
}

/** Sentences on what grows more than the bounds above; no samples are a problem too. */
export function growing(name: string, live: Growth, all: Growth): string[] {
  const sentence = (what: string, { early, late }: Growth) =>
    `${what} grows: ${megabytes(early)} MB, then ${megabytes(late)} MB`;
  const found: string[] = [];
  if (!(live.late <= live.early + LIVE_GROWTH_BYTES)) found.push(sentence(`what is alive in ${name}`, live));
  if (!(all.late <= all.early + Math.max(GROWTH_BYTES, all.early * GROWTH_SHARE)))
    found.push(sentence(`the memory of ${name}`, all));
  return found;
}

export function megabytes(bytes: number): string {
  return (bytes / 1024 / 1024).toFixed(1);
}

/** What there is more of in `after` than in `before`: item -> how many more. */
export function surplus(before: string[], after: string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const item of after) counts[item] = (counts[item] ?? 0) + 1;
  for (const item of before) counts[item] = (counts[item] ?? 0) - 1;
  return Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0));
}
