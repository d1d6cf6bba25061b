/**
 * Counts what this edge process answers: plain additions on the hot path, one message a second. By version for metering and for the
 * comparison of versions; for the whole process by stage, status and outcome for metrics.
 */
import { bucketOf, emptyHistogram } from '../model/histogram.ts';
import type { EdgeReport, VersionTraffic } from '../model/messages.ts';
import type { Bus } from '../state/bus.ts';
import type { Observer, Outcome, RequestRecord } from './record.ts';

const REPORT_MS = 1_000;

/** Outcomes that are the Worker's fault, beside answers of 500 and above. */
const FAILED = new Set<Outcome>(['exception', 'exceededCpu', 'exceededMemory', 'doesNotStart']);

export class Traffic implements Observer {
  readonly #bus: Pick<Bus, 'publish'>;
  readonly #name: string;
  readonly #gauges: () => Pick<EdgeReport, 'connections' | 'webSockets' | 'limitHits'>;
  readonly #timer: NodeJS.Timeout;
  #versions = new Map<string, VersionTraffic>();
  #report: Omit<EdgeReport, 'from' | 'connections' | 'webSockets' | 'limitHits'> = emptyReport();

  /** `name`: of this process. `gauges`: what the listener knows. */
  constructor(
    bus: Pick<Bus, 'publish'>,
    name: string,
    gauges: () => Pick<EdgeReport, 'connections' | 'webSockets' | 'limitHits'>,
  ) {
    this.#bus = bus;
    this.#name = name;
    this.#gauges = gauges;
    this.#timer = setInterval(() => this.flush(), REPORT_MS);
  }

  done(record: RequestRecord): void {
    const { beganAt, routedAt, sentAt, headAt, endedAt, status, outcome } = record;
    const report = this.#report;
    report.statuses[status] = (report.statuses[status] ?? 0) + 1;
    report.outcomes[outcome] = (report.outcomes[outcome] ?? 0) + 1;
    const { stages } = report;
    const latency = bucketOf((headAt || endedAt) - beganAt);
    stages.total[bucketOf(endedAt - beganAt)]!++;
    if (sentAt) {
      stages.wake[bucketOf(sentAt - routedAt)]!++;
      if (headAt) stages.worker[bucketOf(headAt - sentAt)]!++;
    }
    if (!record.version) return;
    const traffic = this.#of(record);
    traffic.requests++;
    if (status >= 500 || FAILED.has(outcome)) traffic.errors++;
    traffic.bytesIn += record.bytesIn;
    traffic.bytesOut += record.bytesOut;
    traffic.durationMs += endedAt - beganAt;
    traffic.latency[latency]!++;
  }

  #of({ version, chosen }: RequestRecord): VersionTraffic {
    const { id, accountId, script } = version!;
    const key = chosen ? `${id} chosen` : id;
    let traffic = this.#versions.get(key);
    if (!traffic) {
      traffic = {
        versionId: id,
        accountId,
        script,
        requests: 0,
        errors: 0,
        bytesIn: 0,
        bytesOut: 0,
        durationMs: 0,
        latency: emptyHistogram(),
        ...(chosen && { chosen }),
      };
      this.#versions.set(key, traffic);
    }
    return traffic;
  }

  /** Tells what there is since the last time. */
  flush(): void {
    if (this.#versions.size > 0) {
      const versions = [...this.#versions.values()];
      this.#versions = new Map();
      this.#bus.publish('local.traffic', { from: this.#name, versions });
    }
    const report: EdgeReport = { from: this.#name, ...this.#gauges(), ...this.#report };
    this.#report = emptyReport();
    this.#bus.publish('local.edge', report);
  }

  close(): void {
    clearInterval(this.#timer);
    this.flush();
  }
}

function emptyReport() {
  return {
    statuses: {} as Record<number, number>,
    outcomes: {} as Record<string, number>,
    stages: { wake: emptyHistogram(), worker: emptyHistogram(), total: emptyHistogram() },
  };
}
