/** When the machine was alive last: a file whose time is set again and again. After a stop or a crash it tells from when on nothing ran. */
import { closeSync, openSync, statSync, utimesSync } from 'node:fs';
import { log, reason } from '../model/log.ts';

const BEAT_MS = 5_000;

export interface Heartbeat {
  /** The last beat before this start; null at the very first one. */
  readonly before: Date | null;
  close(): void;
}

export function openHeartbeat(path: string): Heartbeat {
  const before = statSync(path, { throwIfNoEntry: false })?.mtime ?? null;
  const beat = () => {
    try {
      const now = new Date();
      utimesSync(path, now, now);
    } catch (error) {
      log('warn', 'the time of the last beat cannot be kept', { error: reason(error) });
    }
  };
  closeSync(openSync(path, 'a', 0o600));
  beat();
  const timer = setInterval(beat, BEAT_MS).unref();
  return {
    before,
    close() {
      clearInterval(timer);
      beat();
    },
  };
}
