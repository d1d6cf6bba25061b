/** `selvedge rollout`: brings a version in step by step; the core takes it back if it is worse. */
import { Command } from 'commander';
import { callApi } from './api.ts';
import { dataOption } from './data-dir.ts';
import { minutes, percentages } from './options.ts';
import { print, table } from './table.ts';

interface Compared {
  version_id: string;
  requests: number;
  errors: number;
  p95_ms: number | null;
}

/** As the API answers it. */
interface Shown {
  version_id: string;
  old_version_id: string;
  steps: { percentage: number; minutes: number }[];
  step: number;
  next_on: string | null;
  state: string;
  reason: string | null;
  auto_rollback: boolean;
  comparison?: { old: Compared; new: Compared; looks: number } | null;
}

interface Options {
  account?: string;
  json?: boolean;
  data: string;
}

export function rolloutCommand(): Command {
  const command = new Command('rollout')
    .description('bring a version in step by step; it is rolled back if it fails more or is slower')
    .addHelpText(
      'after',
      `
Examples:
  selvedge rollout shop --version <id> --steps 1,10,50,100 --every 5m      the id as wrangler versions upload printed it
  selvedge rollout status shop
  selvedge rollout stop shop                                               the shares stay; wrangler rollback returns`,
    );
  const subcommand = (name: string, description: string, options?: { isDefault: boolean }) =>
    command
      .command(name, options)
      .description(description)
      .argument('<worker>', 'name of the Worker')
      .option('--account <id>', 'account of the Worker (default: that of wrangler.env)')
      .option('--json', 'as JSON')
      .addOption(dataOption());

  subcommand('start', 'start a rollout; "start" may be left out', { isDefault: true })
    .requiredOption('--version <id>', 'version to bring in')
    .option('--steps <percentages>', 'rising, with commas between', percentages, [1, 10, 50, 100])
    .option('--every <time>', 'how long each step lasts: 30s, 5m, 1h', minutes, 5)
    .option('--no-auto-rollback', 'step on whatever the comparison says')
    .action(async (worker: string, options) => {
      const { version, steps, every, autoRollback } = options as {
        version: string;
        steps: number[];
        every: number;
        autoRollback: boolean;
      };
      const body = {
        version_id: version,
        steps: steps.map((percentage) => ({ percentage, minutes: every })),
        auto_rollback: autoRollback,
      };
      await call(worker, options, 'POST', body);
    });
  subcommand('status', 'the newest rollout, and both versions in figures').action(async (worker: string, options) =>
    call(worker, options, 'GET'),
  );
  subcommand('stop', 'go no further; the versions keep the shares that they have').action(
    async (worker: string, options) => call(worker, options, 'DELETE'),
  );
  return command;
}

async function call(worker: string, options: Options, method: string, body?: unknown): Promise<void> {
  const path = `/accounts/{account}/workers/scripts/${encodeURIComponent(worker)}/selvedge/rollout`;
  const rollout = await callApi<Shown>({ data: options.data, account: options.account, method, path, body });
  print(options.json ? JSON.stringify(rollout, null, 2) : shownText(rollout));
}

function shownText(rollout: Shown): string {
  const { steps, step, state, next_on, reason, comparison } = rollout;
  const next = steps[step + 1];
  const lines = [
    `Version ${rollout.version_id}: ${state}, step ${step + 1} of ${steps.length}, ${steps[step]!.percentage}%`,
  ];
  if (next_on) lines.push(next ? `${next.percentage}% at ${next_on}` : `Ends at ${next_on}`);
  if (reason) lines.push(reason);
  if (state === 'running' && !rollout.auto_rollback) lines.push('Automatic roll-back is off.');
  if (comparison) {
    const row = (name: string, { version_id, requests, errors, p95_ms }: Compared) => [
      name,
      version_id,
      String(requests),
      String(errors),
      p95_ms === null ? 'above 90 s' : p95_ms.toPrecision(3),
    ];
    const rows = [row('old', comparison.old), row('new', comparison.new)];
    lines.push('', table(['', 'VERSION', 'REQUESTS', 'ERRORS', 'P95 MS'], rows));
  }
  return lines.join('\n');
}
