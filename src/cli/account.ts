/** `selvedge account`: tenants of this edge. */
import { Command } from 'commander';
import { createAccount, listAccounts } from '../core/accounts.ts';
import { dataOption, withLedger } from './data-dir.ts';
import { print, table } from './table.ts';

export function accountCommand(): Command {
  const command = new Command('account').description('accounts (tenants) of this edge').addHelpText(
    'after',
    `
Examples:
  selvedge account create --name "Web team" --subdomain web
  selvedge account list`,
  );
  command
    .command('create')
    .description('make an account; its Workers are at <worker>.<subdomain>.<workers domain>')
    .requiredOption('--name <name>', 'name for people')
    .requiredOption('--subdomain <label>', 'its DNS label under the workers domain')
    .addOption(dataOption())
    .action(async ({ name, subdomain, data }) => {
      const account = await withLedger(data, (ledger) => createAccount(ledger, { name, subdomain }));
      print(`Account ${account.id} made. Give it a token: selvedge token create --account ${account.id}`);
    });
  command
    .command('list')
    .description('all accounts')
    .addOption(dataOption())
    .option('--json', 'as JSON')
    .action(async ({ data, json }) => {
      const accounts = await withLedger(data, listAccounts);
      if (json) return print(JSON.stringify(accounts, null, 2));
      print(
        table(
          ['ID', 'NAME', 'SUBDOMAIN', 'CREATED'],
          accounts.map((a) => [a.id, a.name, a.subdomain, a.createdOn]),
        ),
      );
    });
  return command;
}
