/** Log lines of the processes, for the operator: one JSON object a line on standard error. Never put secrets in `fields`. */
export type Level = 'debug' | 'info' | 'warn' | 'error';

const RANK: Record<Level, number> = { debug: 0, info: 1, warn: 2, error: 3 };
const threshold = RANK[(process.env.SELVEDGE_LOG as Level) ?? 'warn'] ?? RANK.warn;

/** Writes a line if `level` is at or above SELVEDGE_LOG (default warn). */
export function log(level: Level, message: string, fields: Record<string, unknown> = {}): void {
  if (RANK[level] < threshold) return;
  process.stderr.write(`${JSON.stringify({ time: new Date().toISOString(), level, message, ...fields })}\n`);
}

/** The message of anything thrown. */
export function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
