/** `selvedge status`: what runs on this machine now, asked of the control API; `--watch` shows it live. */
import { emitKeypressEvents } from 'node:readline';
import { Command } from 'commander';
import { quantile } from '../model/histogram.ts';
import type { PopStatus, PopTraffic } from '../model/messages.ts';
import { callApi } from './api.ts';
import { dataOption, existingDataDir, type Running, requireRunning } from './data-dir.ts';
import { stopSignal } from './stop-signal.ts';
import { print, table } from './table.ts';

const WATCH_MS = 1_000;
/** Cursor home, and clear what is below: no flicker. */
const REDRAW = '\x1b[H\x1b[J';
const ALTERNATE_SCREEN = ['\x1b[?1049h\x1b[?25l', '\x1b[?25h\x1b[?1049l'] as const;

/** The API leaves `traffic` out for who is not on this machine. */
type Status = Omit<PopStatus, 'traffic'> & { traffic?: PopTraffic };

export function statusCommand(): Command {
  return new Command('status')
    .description('what runs on this machine now')
    .option('--json', 'as JSON')
    .option('--watch', 'live, each second, until q or Ctrl-C')
    .addOption(dataOption())
    .addHelpText(
      'after',
      '\nExamples:\n  selvedge status\n  selvedge status --watch\n  selvedge status --json | jq .isolates',
    )
    .action(async ({ data, json, watch }) => {
      const running = requireRunning(existingDataDir(data));
      const read = () => callApi<Status>({ data, path: '/selvedge/status' });
      if (watch) return follow(read, running, data);
      const status = await read();
      if (json) return print(JSON.stringify({ ...running, ...status }, null, 2));
      print(render(status, running, data));
    });
}

async function follow(read: () => Promise<Status>, running: Running, data: string): Promise<void> {
  const { stdin, stdout } = process;
  let stop = () => {};
  const stopped = new Promise<void>((resolve) => {
    stop = resolve;
  });
  void stopSignal(stop).then(stop);
  if (stdin.isTTY) {
    emitKeypressEvents(stdin);
    stdin.setRawMode(true);
    stdin.on('keypress', (text: string, key: { ctrl: boolean; name: string }) => {
      if (text === 'q' || (key.ctrl && key.name === 'c')) stop();
    });
  }
  if (stdout.isTTY) stdout.write(ALTERNATE_SCREEN[0]);
  try {
    let before: Status | undefined;
    let over = false;
    void stopped.then(() => {
      over = true;
    });
    while (!over) {
      const status = await read();
      const text = render(status, running, data, before);
      stdout.write(stdout.isTTY ? `${REDRAW}${text}\n` : `${text}\n\n`);
      before = status;
      await Promise.race([stopped, new Promise((resolve) => setTimeout(resolve, WATCH_MS))]);
    }
  } finally {
    if (stdout.isTTY) stdout.write(ALTERNATE_SCREEN[1]);
    if (stdin.isTTY) stdin.setRawMode(false);
    stdin.pause();
  }
  process.exit(0);
}

/** `before`: of a second ago, for rates. */
function render(status: Status, running: Running, data: string, before?: Status): string {
  const lines = [
    `Selvedge on ${data}, pid ${running.pid}, PoP ${status.colo}, since ${running.startedAt}${status.draining ? ', stopping' : ''}`,
    `Edge http :${running.http}, https :${running.https}; control API :${running.api}; sandbox ${status.sandbox}; ledger at ${status.sequence}`,
  ];
  if (status.traffic) lines.push(...traffic(status.traffic, before?.traffic));
  for (const { script, cron, count, lastOn } of status.missed) {
    lines.push(`Missed while the machine was down: "${cron}" of ${script}, ${count} times, the last at ${lastOn}`);
  }
  lines.push(
    '',
    table(
      ['PROCESS', 'PID', 'RESTARTS'],
      status.processes.map((p) => [p.name, String(p.pid), String(p.restarts)]),
    ),
  );
  const cpu = new Map(before?.isolates.map((isolate) => [isolate.id, isolate.cpuMs]));
  const rows = status.isolates.map((i) => [
    i.script,
    i.versionId.slice(0, 8),
    i.state,
    String(i.pid),
    (i.memoryBytes / 1024 / 1024).toFixed(1),
    before ? `${(((i.cpuMs - (cpu.get(i.id) ?? i.cpuMs)) / WATCH_MS) * 100).toFixed(0)}%` : String(i.cpuMs),
    String(i.openRequests),
    `${Math.round(i.uptimeMs / 1000)} s`,
  ]);
  lines.push('', table(['WORKER', 'VERSION', 'STATE', 'PID', 'MB', before ? 'CPU' : 'CPU MS', 'OPEN', 'UP'], rows));
  return lines.join('\n');
}

function traffic(now: PopTraffic, before: PopTraffic | undefined): string[] {
  const since = before ?? { ...now, requests: 0, errors: 0, latency: now.latency.map(() => 0) };
  const requests = now.requests - since.requests;
  const errors = now.errors - since.errors;
  const latency = now.latency.map((count, index) => count - since.latency[index]!);
  const ms = (share: number) => (requests > 0 ? `${Number(quantile(latency, share).toPrecision(3))} ms` : '-');
  const limits = Object.entries(now.limitHits).map(([name, count]) => `${name} ${count}`);
  return [
    `${before ? `${requests} requests/s` : `${requests} requests since the start`}, ${errors} failed, p50 ${ms(0.5)}, p95 ${ms(0.95)}; ${now.connections} connections, ${now.webSockets} WebSockets`,
    ...(limits.length > 0 ? [`Limits hit: ${limits.join(', ')}`] : []),
  ];
}
