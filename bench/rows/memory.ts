import { readFileSync } from 'node:fs';
import { startEdge } from '../../test/harness.ts';
import { HELLO, isolates, put, type Row } from '../lib.ts';
import { privateBytes } from '../programs.ts';

const WORKERS = 200;

function parentOf(pid: number): number {
  return Number(/^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]);
}

/** The process and what the sandbox put around it, up to the supervisor. */
function withSandbox(pid: number, supervisor: number): number {
  let bytes = 0;
  for (let each = pid; each > 1 && each !== supervisor; each = parentOf(each)) bytes += privateBytes(each);
  return bytes;
}

export const row: Row = {
  what: `private memory per warm idle Worker with its system Workers and sandbox, at ${WORKERS} Workers`,
  against: '-',
  goal: '<= 16 MB',
  async run() {
    const edge = await startEdge();
    try {
      for (let i = 0; i < WORKERS; i++) await put(edge, `hello-${i}`, HELLO);
      const running = (await isolates(edge)).filter(({ state }) => state === 'running');
      const total = running.reduce((sum, { pid }) => sum + withSandbox(pid, edge.pid), 0);
      const megabytes = total / running.length / 1024 / 1024;
      return {
        measured: `${megabytes.toFixed(1)} MB`,
        detail: `${running.length} processes, mean`,
        met: megabytes <= 16 && running.length >= WORKERS,
      };
    } finally {
      await edge.close();
    }
  },
};
