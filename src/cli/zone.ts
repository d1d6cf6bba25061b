/** `selvedge zone`: domains under management, for routes and custom domains. */
import { Command } from 'commander';
import { listAccounts } from '../core/accounts.ts';
import { listOrigins, removeOrigin, setOrigin } from '../core/origins.ts';
import { createZone, listZones, normalizeHostname, zoneHolding } from '../core/zones.ts';
import type { Zone } from '../model/documents.ts';
import type { Ledger } from '../state/ledger.ts';
import { dataOption, withLedger } from './data-dir.ts';
import { print, table } from './table.ts';

export function zoneCommand(): Command {
  const command = new Command('zone').description('domains under management').addHelpText(
    'after',
    `
Examples:
  selvedge zone add example.com
  selvedge zone list
  selvedge zone origin set shop.example.com https://10.0.0.5:8443`,
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
  command.addCommand(originCommand());
  return command;
}

function originCommand(): Command {
  const command = new Command('origin')
    .description('where the origins of hosts are (without one, DNS says it)')
    .addHelpText(
      'after',
      `
A Worker that fetches a host of its own zone gets the host's origin. Private addresses have to be allowed for the account.

Examples:
  selvedge zone origin set shop.example.com https://10.0.0.5:8443
  selvedge zone origin list
  selvedge zone origin remove shop.example.com`,
    );
  command
    .command('set <host> <url>')
    .description('send subrequests for a host to this address; their Host header stays the host')
    .addOption(dataOption())
    .action(async (host, url, { data }) => {
      const origin = await withLedger(data, async (ledger) =>
        setOrigin(ledger, await requireZone(ledger, host), host, url),
      );
      print(`The origin of ${origin.hostname} is at ${origin.url}.`);
    });
  command
    .command('list')
    .description('all origins')
    .option('--json', 'as JSON')
    .addOption(dataOption())
    .action(async ({ data, json }) => {
      const origins = await withLedger(data, (ledger) => listOrigins(ledger));
      if (json) return print(JSON.stringify(origins, null, 2));
      print(
        table(
          ['HOST', 'ORIGIN', 'ZONE', 'ACCOUNT'],
          origins.map(({ hostname, url, zoneName, accountId }) => [hostname, url, zoneName, accountId]),
        ),
      );
    });
  command
    .command('remove <host>')
    .description('let DNS say where the origin is')
    .addOption(dataOption())
    .action(async (host, { data }) => {
      const { hostname } = await withLedger(data, async (ledger) =>
        removeOrigin(ledger, await requireZone(ledger, host), host),
      );
      print(`The origin of ${hostname} is where DNS says.`);
    });
  return command;
}

async function requireZone(ledger: Ledger, host: string): Promise<Zone> {
  const zone = await zoneHolding(ledger, normalizeHostname(host) ?? host);
  if (!zone) throw new Error(`no zone holds ${host}: add one with \`selvedge zone add\``);
  return zone;
}
