/** The kernel's accounting of a process (proc(5)). */
import { readdirSync, readFileSync } from 'node:fs';

/** Ticks of the kernel's clock: 100 a second on every Linux that Node runs on. */
const MS_PER_TICK = 10;
/** 4096 on most machines, 16 or 64 KiB on some arm64 ones: the kernel tells the same size in kilobytes and in pages. */
const PAGE_BYTES = pageBytes();

/** User and system time of the process so far, ms in steps of 10; null if it is gone. */
export function cpuMs(pid: number): number | null {
  const text = read(`/proc/${pid}/stat`);
  if (text === null) return null;
  // The name in parentheses may hold anything: fields are counted from behind it. utime and stime are fields 14 and 15.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * MS_PER_TICK;
}

/** Resident memory that the process shares with no file, bytes; null if it is gone. */
export function privateBytes(pid: number): number | null {
  const text = read(`/proc/${pid}/statm`);
  if (text === null) return null;
  const [, resident, shared] = text.split(' ');
  return (Number(resident) - Number(shared)) * PAGE_BYTES;
}

/**
 * What workerd holds beside the JavaScript heap under load: a hello world that answers 20,000 requests a second holds 175 MB until V8
 * collects. A process may hold its version's memory limit and this.
 */
export const RUNTIME_BYTES = 192 * 1024 * 1024;

/** Size of the data segment (heap and private mappings, reserved or not), bytes: what RLIMIT_DATA counts. */
export function dataBytes(pid: number): number | null {
  const kilobytes = /^VmData:\s+(\d+) kB$/m.exec(read(`/proc/${pid}/status`) ?? '')?.[1];
  return kilobytes ? Number(kilobytes) * 1024 : null;
}

/** How many files and connections the process has open; null if it is gone. */
export function openFiles(pid: number): number | null {
  try {
    return readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    return null;
  }
}

function pageBytes(): number {
  const kilobytes = Number(/^VmSize:\s+(\d+) kB$/m.exec(read('/proc/self/status') ?? '')?.[1]);
  const pages = Number(read('/proc/self/statm')?.split(' ')[0]);
  // The two readings are not of the same moment: the nearest power of two.
  return kilobytes && pages ? 2 ** Math.round(Math.log2((kilobytes * 1024) / pages)) : 4096;
}

function read(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}
