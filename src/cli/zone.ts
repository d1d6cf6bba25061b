/** `selvedge zone`: domains under management, for routes and custom domains. */
import { Command } from 'commander';
import { listAccounts } from '../core/accounts.ts';
import { createZone, listZones } from '../core/zones.ts';
import { dataOption, withLedger } from './data-dir.ts';
import { print, table } from './table.ts';

export function zoneCommand(): Command {
  const command = new Command('zone').description('domains under management').addHelpText(
    'after',
    `
Examples:
  selvedge zone add example.com
  selvedge zone list`,
  );
  command
    .command('add <domain>')
    .description('let an account use a domain and all names below it')
    .option('--account <id>', 'account it belongs to (default: the only one)')
    .addOption(dataOption())
    .action(async (name, { account, data }) => {
      const zone = await withLedger(data, async (ledger) => {
        const accounts = await listAccounts(ledger);
        const chosen = account ?? (accounts.length === 1 ? accounts[0]!.id : null);
        if (!chosen) throw new Error('there are several accounts: name one by --account (see `selvedge account list`)');
        return createZone(ledger, { accountId: chosen, name });
      });
      print(
        `Zone ${zone.name} (${zone.id}) added. Point its DNS at this machine; routes and custom domains may use it now.`,
      );
    });
  command
    .command('list')
    .description('all zones')
    .option('--json', 'as JSON')
    .addOption(dataOption())
    .action(async ({ data, json }) => {
      const zones = await withLedger(data, (ledger) => listZones(ledger));
      if (json) return print(JSON.stringify(zones, null, 2));
      print(
        table(
          ['NAME', 'ID', 'ACCOUNT'],
          zones.map((zone) => [zone.name, zone.id, zone.accountId]),
        ),
      );
    });
  return command;
}
