/** A real Selvedge under mixed load for some time, and what of it must not grow. `npm run soak` and the test suite run it. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Edge, eventually, startEdge } from '../harness.ts';
import { CHANGING, type Count, deploy, kinds, run, startOrigin, WORKERS } from './load.ts';
import {
  alive,
  descriptors,
  filesBelow,
  type Growth,
  growing,
  growth,
  MORE_DESCRIPTORS,
  megabytes,
  privateBytes,
  processesBelow,
  surplus,
} from './readings.ts';

export interface Report {
  counts: Record<string, Count>;
  /** Name of a process -> what is alive in its heap, and all memory of its own. */
  memory: Record<string, { live: Growth; all: Growth }>;
  /** What is not as it has to be, as sentences; empty if all is well. */
  problems: string[];
}

const SAMPLE_MS = 2_000;
const PROBE_MS = 5_000;
const SAY_MS = 20_000;
const REST_MS = 500;
/** Each kind of load runs this long before the state at rest is taken: what is made once is there then. */
const TOUCH_MS = 3_000;
/**
 * Time to come to rest. A replaced process stays 30 s for its waitUntil(), one more under load goes after 30 calm seconds, an idle
 * connection to a process after 5 s.
 */
const SETTLE_MS = 50_000;
const TOUCH_SETTLE_MS = 8_000;
/** Grow by design and have their own bounds: the ledger and the usage with its deploys and days, compiled configurations, logs. */
const GROWING = /^(ledger|usage|lock)\.sqlite|^compiled\/|^logs?\//;

interface Status {
  processes: { name: string; pid: number; restarts: number }[];
  isolates: { script: string; pid: number; state: string }[];
}

/** State at rest. */
interface Rest {
  /** Commands of all processes below the supervisor. */
  processes: string[];
  /** Name -> descriptors, of the long-lived processes. */
  descriptors: Record<string, Record<string, number>>;
  runFiles: string[];
  dataFiles: string[];
}

/** Runs the load for `seconds`. `say` gets a line now and then. */
export async function soak(seconds: number, say: (line: string) => void): Promise<Report> {
  const probes = mkdtempSync(join(tmpdir(), 'selvedge-soak-'));
  const probe = pathToFileURL(join(import.meta.dirname, 'probe.ts')).href;
  const edge = await startEdge({
    args: ['--allow-egress', '127.0.0.1/32'],
    env: {
      SOAK_PROBE_DIR: probes,
      NODE_OPTIONS: `--expose-gc --disable-warning=ExperimentalWarning --import=${probe}`,
    },
  });
  const origin = await startOrigin();
  const problems: string[] = [];
  try {
    const { runDir } = JSON.parse(readFileSync(join(edge.dataDir, 'running.json'), 'utf8')) as { runDir: string };
    const bindings = [{ type: 'service', name: 'PLAIN', service: 'plain' }];
    for (const [name, text] of Object.entries(WORKERS))
      await deploy(edge, name, text, name === 'calling' ? bindings : []);
    for (const text of CHANGING) await deploy(edge, 'changing', text);
    const load = kinds(edge, origin.address, () => killOne(edge));
    const { deploys: _, kills: __, ...touches } = load.kinds;
    const touched = run(touches);
    await sleep(TOUCH_MS);
    await touched.stop();
    const long = await longLived(edge);
    await sleep(TOUCH_SETTLE_MS);
    const before = await rest(edge, long, runDir, () => true);

    say(`load for ${seconds} s on ${Object.keys(long).join(', ')}`);
    const running = run(load.kinds);
    const samples = await sample(long, probes, seconds, say);
    await running.stop();
    load.close();
    problems.push(...badCounts(running.counts, load.kinds));
    const memory: Report['memory'] = {};
    for (const name of Object.keys(long)) {
      const live = growth(samples.live[name]!, 'least');
      const all = growth(samples.all[name]!, 'median');
      memory[name] = { live, all };
      problems.push(...growing(name, live, all));
    }

    say('coming to rest');
    const after = await rest(edge, long, runDir, (now) => leaks(before, now).length === 0);
    problems.push(...leaks(before, after));
    const { processes } = await statusOf(edge);
    for (const { name, restarts } of processes) if (restarts > 0) problems.push(`${name} ended and was started again`);

    const pids = processesBelow(edge.pid).map(({ pid }) => pid);
    const code = await edge.stop();
    if (code !== 0) problems.push(`the stop ended with ${code}`);
    const left = await goneWithin(pids);
    if (left.length > 0) problems.push(`processes outlive the stop: ${left.join(', ')}`);
    if (existsSync(runDir)) problems.push('the run directory outlives the stop');
    return { counts: running.counts, memory, problems };
  } finally {
    origin.close();
    await edge.close();
    rmSync(probes, { recursive: true, force: true });
  }
}

async function statusOf(edge: Edge): Promise<Status> {
  const response = await fetch(`${edge.apiUrl.replace('/client/v4', '')}/selvedge/status`, {
    headers: { authorization: `Bearer ${edge.token}` },
  });
  return ((await response.json()) as { result: Status }).result;
}

/** The processes that must outlive the whole load, by name. */
async function longLived(edge: Edge): Promise<Record<string, number>> {
  const { processes } = await statusOf(edge);
  return { supervisor: edge.pid, ...Object.fromEntries(processes.map(({ name, pid }) => [name, pid])) };
}

async function killOne(edge: Edge): Promise<void> {
  const { isolates } = await statusOf(edge);
  const found = isolates.find(({ script, state }) => script === 'killed' && state === 'running');
  if (found && alive(found.pid)) process.kill(found.pid, 'SIGKILL');
}

/** Memory of each process again and again: what is alive in its heap, and all that it has of its own. */
async function sample(
  long: Record<string, number>,
  probes: string,
  seconds: number,
  say: (line: string) => void,
): Promise<{ live: Record<string, number[]>; all: Record<string, number[]> }> {
  const none = () => Object.fromEntries(Object.keys(long).map((name) => [name, [] as number[]]));
  const samples = { live: none(), all: none() };
  const end = Date.now() + seconds * 1000;
  let said = 0;
  while (Date.now() < end) {
    for (const [name, pid] of Object.entries(long)) {
      const live = await liveBytes(pid, probes);
      const all = privateBytes(pid);
      if (live !== undefined) samples.live[name]!.push(live);
      if (all !== undefined) samples.all[name]!.push(all);
    }
    if (Date.now() - said > SAY_MS) {
      said = Date.now();
      const now = Object.keys(long).map(
        (name) =>
          `${name} ${megabytes(samples.live[name]!.at(-1) ?? 0)} of ${megabytes(samples.all[name]!.at(-1) ?? 0)}`,
      );
      say(`${Math.round((end - Date.now()) / 1000)} s to go; MB alive: ${now.join(', ')}`);
    }
    await sleep(SAMPLE_MS);
  }
  return samples;
}

/** Asks the probe; undefined if the process does not answer, which other rules find. */
async function liveBytes(pid: number, probes: string): Promise<number | undefined> {
  const read = (): { number: number; liveBytes: number } | undefined => {
    const path = join(probes, String(pid));
    return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : undefined;
  };
  const before = read()?.number ?? 0;
  try {
    process.kill(pid, 'SIGUSR2');
    const answer = () => {
      const now = read();
      return now && now.number > before && now;
    };
    return (await eventually(answer, PROBE_MS)).liveBytes;
  } catch {
    return undefined;
  }
}

function badCounts(counts: Record<string, Count>, all: ReturnType<typeof kinds>['kinds']): string[] {
  return Object.entries(counts).flatMap(([name, { done, failed, errors }]) => {
    if (done === 0) return [`no round of ${name} was done: ${errors.join('; ')}`];
    return failed > 0 && !all[name]!.mayFail
      ? [`${failed} of ${done + failed} rounds of ${name} failed: ${errors.join('; ')}`]
      : [];
  });
}

/** The state when `good` likes it, or as it is when the time to settle is over. */
async function rest(
  edge: Edge,
  long: Record<string, number>,
  runDir: string,
  good: (rest: Rest) => boolean,
): Promise<Rest> {
  const end = Date.now() + SETTLE_MS;
  for (;;) {
    const now: Rest = {
      processes: processesBelow(edge.pid).map(({ command }) => command),
      descriptors: Object.fromEntries(
        Object.entries(long).map(([name, pid]) => [name, descriptors(pid) ?? {}] as const),
      ),
      runFiles: filesBelow(runDir),
      dataFiles: filesBelow(edge.dataDir, GROWING),
    };
    if (good(now) || Date.now() > end) return now;
    await sleep(REST_MS);
  }
}

function leaks(before: Rest, after: Rest): string[] {
  const found: string[] = [];
  const more = (what: string, from: string[], to: string[]) => {
    for (const [item, count] of Object.entries(surplus(from, to))) found.push(`${count} more ${what}: ${item}`);
  };
  more('processes', before.processes, after.processes);
  more('files in the run directory', before.runFiles, after.runFiles);
  more('files in the data directory', before.dataFiles, after.dataFiles);
  for (const [name, kindsOf] of Object.entries(after.descriptors)) {
    if (Object.keys(kindsOf).length === 0) found.push(`the process ${name} has ended`);
    for (const [kind, count] of Object.entries(kindsOf)) {
      const was = before.descriptors[name]![kind] ?? 0;
      if (count > was + MORE_DESCRIPTORS) found.push(`${name} has ${count} descriptors of kind ${kind}, before ${was}`);
    }
  }
  return found;
}

async function goneWithin(pids: number[]): Promise<number[]> {
  await eventually(() => !pids.some(alive), 5_000).catch(() => undefined);
  return pids.filter(alive);
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
