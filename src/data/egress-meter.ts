/** What Workers send outward, counted for metering and metrics: published as `local.egress` every second that has any. */
import type { ScriptEgress } from '../model/messages.ts';

/** Of one Worker. */
export type Meter = Pick<ScriptEgress, 'subrequests' | 'refused' | 'bytesOut' | 'bytesIn'>;

export interface Meters {
  /** The meter of a Worker, the same for all of its processes. Count by adding to its fields. */
  of(accountId: string, script: string): Meter;
  /** What was counted since the last call; Workers that sent nothing are left out. */
  take(): ScriptEgress[];
}

export function createMeters(): Meters {
  const meters = new Map<string, ScriptEgress>();
  return {
    of(accountId, script) {
      const key = `${accountId}/${script}`;
      const meter = meters.get(key) ?? { accountId, script, subrequests: 0, refused: 0, bytesOut: 0, bytesIn: 0 };
      meters.set(key, meter);
      return meter;
    },
    take() {
      const used: ScriptEgress[] = [];
      for (const meter of meters.values()) {
        if (meter.subrequests + meter.refused + meter.bytesOut + meter.bytesIn === 0) continue;
        used.push({ ...meter });
        Object.assign(meter, { subrequests: 0, refused: 0, bytesOut: 0, bytesIn: 0 });
      }
      return used;
    },
  };
}
