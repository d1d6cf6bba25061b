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
  wrangler versions upload                                   makes the version
  selvedge rollout shop --version 1a2b3c4d-... --steps 1,10,50,100 --every 5m
  selvedge rollout status shop
  selvedge rollout stop shop                                 the shares stay; wrangler rollback returns`,
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
      show(await call(worker, options, 'POST', body), options);
    });
  subcommand('status', 'the newest rollout, and both versions in figures').action(async (worker: string, options) =>
    show(await call(worker, options, 'GET'), options),
  );
  subcommand('stop', 'go no further; the versions keep the shares that they have').action(
    async (worker: string, options) => show(await call(worker, options, 'DELETE'), options),
  );
  return command;
}

function call(worker: string, { data, account }: Options, method: string, body?: unknown): Promise<Shown> {
  const path = `/accounts/{account}/workers/scripts/${encodeURIComponent(worker)}/selvedge/rollout`;
  return callApi<Shown>({ data, account, method, path, body });
}

function show(rollout: Shown, { json }: Options): void {
  if (json) return print(JSON.stringify(rollout, null, 2));
  const { steps, step, state, next_on, reason, comparison } = rollout;
  const last = step + 1 === steps.length;
  print(`Version ${rollout.version_id}: ${state}, step ${step + 1} of ${steps.length}, ${steps[step]!.percentage}%`);
  if (state === 'running' && next_on) {
    print(last ? `Ends at ${next_on}` : `${steps[step + 1]!.percentage}% at ${next_on}`);
  }
  if (reason) print(reason);
  if (state === 'running' && !rollout.auto_rollback) print('Automatic roll-back is off.');
  if (!comparison) return;
  const row = (name: string, { version_id, requests, errors, p95_ms }: Compared) => [
    name,
    version_id,
    String(requests),
    String(errors),
    p95_ms === null ? 'above 90 s' : p95_ms.toPrecision(3),
  ];
  print(
    `\n${table(['', 'VERSION', 'REQUESTS', 'ERRORS', 'P95 MS'], [row('old', comparison.old), row('new', comparison.new)])}`,
  );
}
