/**
 * All metrics of a machine, in the supervisor: added up from what the processes report each second, and read off the fleet when somebody
 * asks. Nothing here is on a request's way. Labels are bounded: of the scripts beyond MAX_SCRIPTS only the sum is told.
 */
import { readFileSync } from 'node:fs';
import { Counter, Gauge, Registry } from 'prom-client';
import type { EdgeReport, PopStatus, PopTraffic, Publications, Verdict } from '../model/messages.ts';
import type { Bus } from '../state/bus.ts';
import { BucketedHistogram } from './bucketed-histogram.ts';

const MAX_SCRIPTS = 1_000;
const OTHER = 'other';
const PAGE_BYTES = 4096;

export class Metrics {
  readonly #registry = new Registry();
  readonly #scripts = new Set<string>();
  readonly #edges = new Map<string, Pick<EdgeReport, 'connections' | 'webSockets'>>();
  readonly #stops: (() => void)[];
  readonly #limits: Record<string, number> = {};
  #requests = 0;
  #errors = 0;

  readonly #workerRequests = this.#counter(
    'selvedge_worker_requests_total',
    'Requests that went to a Worker or its assets.',
    ['account', 'script'],
  );
  readonly #workerErrors = this.#counter(
    'selvedge_worker_errors_total',
    'Of these: exceptions, limits, answers of 500 and above.',
    ['account', 'script'],
  );
  readonly #workerCpu = this.#counter('selvedge_worker_cpu_seconds_total', 'CPU time of the Workers.', [
    'account',
    'script',
  ]);
  readonly #responses = this.#counter(
    'selvedge_responses_total',
    'Answers to clients by status; 0: the client left before one.',
    ['status'],
  );
  readonly #outcomes = this.#counter(
    'selvedge_outcomes_total',
    'Requests by outcome: ok, canceled, or the error page.',
    ['outcome'],
  );
  readonly #bytes = this.#counter('selvedge_body_bytes_total', 'Bytes of bodies from (in) and to (out) clients.', [
    'direction',
  ]);
  readonly #limitHits = this.#counter('selvedge_limit_hits_total', 'How often a limit stopped a client.', ['limit']);
  readonly #subrequests = this.#counter('selvedge_subrequests_total', 'Requests that Workers made.', [
    'account',
    'script',
  ]);
  readonly #refused = this.#counter(
    'selvedge_subrequests_refused_total',
    'Of these: refused by address, port, loop or number.',
    ['account', 'script'],
  );
  readonly #exits = this.#counter('selvedge_isolate_exits_total', 'Ended isolate processes by reason.', ['reason']);
  readonly #stages = new BucketedHistogram(
    'selvedge_request_duration_seconds',
    'Times of a request: wake (until a process was there), worker (until its head), total.',
    'stage',
  );
  readonly #isolates = this.#gauge('selvedge_isolates', 'Isolate processes by state.', ['state']);
  readonly #memory = this.#gauge('selvedge_worker_memory_bytes', 'Memory of the Workers that run.', [
    'account',
    'script',
  ]);
  readonly #open = this.#gauge('selvedge_worker_open_requests', 'Requests that Workers have open.', [
    'account',
    'script',
  ]);
  readonly #zygotes = this.#gauge('selvedge_zygotes', 'Runtimes that wait for a Worker.');
  readonly #sequence = this.#gauge(
    'selvedge_ledger_sequence',
    'Sequence number of the ledger that this machine has applied.',
  );
  readonly #restarts = this.#gauge('selvedge_process_restarts', 'Restarts of the processes of this machine.', [
    'process',
  ]);
  readonly #processMemory = this.#gauge(
    'selvedge_process_memory_bytes',
    'Resident memory of the processes of this machine.',
    ['process'],
  );
  readonly #connections = this.#gauge('selvedge_connections', 'Open connections of clients.', ['process']);
  readonly #webSockets = this.#gauge('selvedge_websockets', 'Open WebSockets of clients.', ['process']);

  constructor(bus: Pick<Bus, 'subscribe'>) {
    this.#registry.registerMetric(this.#stages as never);
    this.#stops = [
      bus.subscribe('local.traffic', (message: Publications['local.traffic']) => this.#onTraffic(message)),
      bus.subscribe('local.edge', (report: EdgeReport) => this.#onEdge(report)),
      bus.subscribe('local.egress', ({ scripts }: Publications['local.egress']) => {
        for (const { accountId, script, subrequests, refused } of scripts) {
          const labels = this.#of(accountId, script);
          this.#subrequests.inc(labels, subrequests);
          this.#refused.inc(labels, refused);
        }
      }),
    ];
  }

  /** An isolate process has ended. */
  exited(reason: Verdict): void {
    this.#exits.inc({ reason });
  }

  /** CPU time that a Worker has used. */
  used(accountId: string, script: string, cpuMs: number): void {
    this.#workerCpu.inc(this.#of(accountId, script), cpuMs / 1000);
  }

  /** An edge process is gone: its connections too. */
  gone(process: string): void {
    this.#edges.delete(process);
  }

  /** Sums since the start, for `selvedge status`. */
  traffic(): PopTraffic {
    const sum = (name: 'connections' | 'webSockets') =>
      [...this.#edges.values()].reduce((all, edge) => all + edge[name], 0);
    return {
      requests: this.#requests,
      errors: this.#errors,
      latency: [...this.#stages.counts('total')],
      connections: sum('connections'),
      webSockets: sum('webSockets'),
      limitHits: { ...this.#limits },
    };
  }

  /** The text for a scraper (Prometheus' format 0.0.4). */
  async text(status: PopStatus): Promise<string> {
    this.#read(status);
    return this.#registry.metrics();
  }

  close(): void {
    for (const stop of this.#stops) stop();
  }

  #onTraffic({ versions }: Publications['local.traffic']): void {
    for (const { accountId, script, requests, errors, bytesIn, bytesOut } of versions) {
      const labels = this.#of(accountId, script);
      this.#workerRequests.inc(labels, requests);
      this.#workerErrors.inc(labels, errors);
      this.#bytes.inc({ direction: 'in' }, bytesIn);
      this.#bytes.inc({ direction: 'out' }, bytesOut);
      this.#errors += errors;
    }
  }

  #onEdge({ from, connections, webSockets, limitHits, statuses, outcomes, stages }: EdgeReport): void {
    this.#edges.set(from, { connections, webSockets });
    for (const [limit, count] of Object.entries(limitHits)) {
      this.#limitHits.inc({ limit }, count);
      this.#limits[limit] = (this.#limits[limit] ?? 0) + count;
    }
    for (const [status, count] of Object.entries(statuses)) {
      this.#responses.inc({ status }, count);
      this.#requests += count;
    }
    for (const [outcome, count] of Object.entries(outcomes)) this.#outcomes.inc({ outcome }, count);
    for (const [stage, counts] of Object.entries(stages)) this.#stages.add(stage, counts);
  }

  #read(status: PopStatus): void {
    for (const gauge of [
      this.#isolates,
      this.#memory,
      this.#open,
      this.#restarts,
      this.#processMemory,
      this.#connections,
      this.#webSockets,
    ])
      gauge.reset();
    for (const state of ['starting', 'running', 'draining']) this.#isolates.set({ state }, 0);
    for (const { state, accountId, script, memoryBytes, openRequests } of status.isolates) {
      this.#isolates.inc({ state });
      const labels = this.#of(accountId, script);
      this.#memory.inc(labels, memoryBytes);
      this.#open.inc(labels, openRequests);
    }
    this.#zygotes.set(status.zygotes);
    this.#sequence.set(status.sequence);
    const own = { name: 'supervisor', pid: process.pid, restarts: 0 };
    for (const { name, pid, restarts } of [own, ...status.processes]) {
      this.#restarts.set({ process: name }, restarts);
      this.#processMemory.set({ process: name }, residentBytes(pid));
    }
    for (const [name, { connections, webSockets }] of this.#edges) {
      this.#connections.set({ process: name }, connections);
      this.#webSockets.set({ process: name }, webSockets);
    }
  }

  #of(account: string, script: string): { account: string; script: string } {
    const name = `${account}/${script}`;
    if (!this.#scripts.has(name)) {
      if (this.#scripts.size >= MAX_SCRIPTS) return { account: OTHER, script: OTHER };
      this.#scripts.add(name);
    }
    return { account, script };
  }

  #counter(name: string, help: string, labelNames: string[]): Counter {
    return new Counter({ name, help, labelNames, registers: [this.#registry] });
  }

  #gauge(name: string, help: string, labelNames: string[] = []): Gauge {
    return new Gauge({ name, help, labelNames, registers: [this.#registry] });
  }
}

/** Resident memory by the kernel's accounting (proc(5)); 0 if the process is gone, or where there is no /proc. */
function residentBytes(pid: number): number {
  try {
    return Number(readFileSync(`/proc/${pid}/statm`, 'latin1').split(' ')[1]) * PAGE_BYTES;
  } catch {
    return 0;
  }
}
