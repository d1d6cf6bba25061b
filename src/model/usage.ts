/** What Workers used, per account, script and UTC day: the units of metering, and their sums. */

export interface UsageCounts {
  /** Requests of eyeballs that a Worker or its assets answered. */
  requests: number;
  /** Of these: exceptions, exceeded limits, and answers of 500 and above. */
  errors: number;
  /** CPU time of the processes by the kernel's accounting, ms with three decimals. */
  cpuMs: number;
  /** Requests that Workers made to the internet. */
  subrequests: number;
  /** Bytes to eyeballs and bytes that Workers sent to the internet. */
  egressBytes: number;
  /** Bytes from eyeballs and bytes that Workers received from the internet. */
  ingressBytes: number;
  /** Sum of the requests' durations, first byte of the request to last byte of the answer; whole ms. */
  durationMs: number;
}

export interface UsageRow extends UsageCounts {
  accountId: string;
  script: string;
  /** YYYY-MM-DD in UTC. */
  day: string;
}

export const USAGE_FIELDS = [
  'requests',
  'errors',
  'cpuMs',
  'subrequests',
  'egressBytes',
  'ingressBytes',
  'durationMs',
] as const satisfies readonly (keyof UsageCounts)[];

/** Adds up rows. CPU time is added in whole microseconds: sums of decimals would not be exact. */
export function sumUsage(rows: Iterable<UsageCounts>): UsageCounts {
  const sum: UsageCounts = {
    requests: 0,
    errors: 0,
    cpuMs: 0,
    subrequests: 0,
    egressBytes: 0,
    ingressBytes: 0,
    durationMs: 0,
  };
  let cpuUs = 0;
  for (const row of rows) {
    for (const field of USAGE_FIELDS) sum[field] += row[field];
    cpuUs += Math.round(row.cpuMs * 1000);
  }
  return { ...sum, cpuMs: cpuUs / 1000 };
}

/** First and last day of a month (YYYY-MM). */
export function daysOfMonth(month: string): { from: string; to: string } {
  const [year, number] = month.split('-').map(Number) as [number, number];
  // Day 0 of the next month is the last one of this.
  return { from: `${month}-01`, to: new Date(Date.UTC(year, number, 0)).toISOString().slice(0, 10) };
}
