/** `selvedge usage`: CPU time per Worker and day, from the kernel's accounting. */
import { Command } from 'commander';
import { layout } from '../model/layout.ts';
import { openUsage } from '../state/usage.ts';
import { dataOption, existingDataDir } from './data-dir.ts';
import { day } from './options.ts';
import { print, table } from './table.ts';

export function usageCommand(): Command {
  return new Command('usage')
    .description('CPU time per Worker and day')
    .option('--account <id>', 'only of this account')
    .option('--from <day>', 'first day, YYYY-MM-DD (UTC)', day)
    .option('--to <day>', 'last day, YYYY-MM-DD (UTC)', day)
    .option('--json', 'as JSON')
    .addOption(dataOption())
    .addHelpText('after', '\nExample:\n  selvedge usage --from 2026-11-01')
    .action(({ account, from, to, json, data }) => {
      const usage = openUsage(layout(existingDataDir(data)).usage);
      const rows = usage.read({ accountId: account, from, to });
      usage.close();
      if (json) return print(JSON.stringify(rows, null, 2));
      print(
        table(
          ['DAY', 'ACCOUNT', 'WORKER', 'CPU MS'],
          rows.map((r) => [r.day, r.accountId, r.script, r.cpuMs.toFixed(0)]),
        ),
      );
    });
}
