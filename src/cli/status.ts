/** `selvedge status`: what runs on this machine now, asked of the control API. */
import { Command } from 'commander';
import { reason } from '../model/log.ts';
import type { PopStatus } from '../model/messages.ts';
import { dataOption, existingDataDir, readWranglerEnv, requireRunning, urlHost } from './data-dir.ts';
import { print, table } from './table.ts';

const TIMEOUT_MS = 5_000;

export function statusCommand(): Command {
  return new Command('status')
    .description('what runs on this machine now')
    .option('--json', 'as JSON')
    .addOption(dataOption())
    .addHelpText('after', '\nExamples:\n  selvedge status\n  selvedge status --json | jq .isolates')
    .action(async ({ data, json }) => {
      const dataDir = existingDataDir(data);
      const running = requireRunning(dataDir);
      const token = readWranglerEnv(dataDir).CLOUDFLARE_API_TOKEN ?? '';
      const url = `http://${urlHost(running.apiListen)}:${running.api}/selvedge/status`;
      const response = await fetch(url, {
        headers: { authorization: `Bearer ${token}` },
        signal: AbortSignal.timeout(TIMEOUT_MS),
      }).catch((error: Error) => {
        // undici says "fetch failed" and gives the reason as the cause.
        throw new Error(`the control API at ${url} does not answer: ${reason(error.cause ?? error)}`);
      });
      if (!response.ok)
        throw new Error(`the control API answered ${response.status}: is the token in wrangler.env still valid?`);
      const { result } = (await response.json()) as { result: PopStatus };
      if (json) return print(JSON.stringify({ ...running, ...result }, null, 2));
      print(`Selvedge on ${dataDir}, pid ${running.pid}, PoP ${result.colo}, since ${running.startedAt}`);
      print(
        `Edge http :${running.http}, https :${running.https}; control API :${running.api}; sandbox ${result.sandbox}; ledger at ${result.sequence}`,
      );
      print(
        `\n${table(
          ['PROCESS', 'PID', 'RESTARTS'],
          result.processes.map((p) => [p.name, String(p.pid), String(p.restarts)]),
        )}`,
      );
      const rows = result.isolates.map((i) => [
        i.script,
        i.versionId.slice(0, 8),
        i.state,
        String(i.pid),
        (i.memoryBytes / 1024 / 1024).toFixed(1),
        String(i.cpuMs),
        String(i.openRequests),
        `${Math.round(i.uptimeMs / 1000)} s`,
      ]);
      print(`\n${table(['WORKER', 'VERSION', 'STATE', 'PID', 'MB', 'CPU MS', 'OPEN', 'UP'], rows)}`);
    });
}
