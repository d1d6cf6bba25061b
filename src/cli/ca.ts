/** `selvedge ca`: the root certificate of the local authority, for browsers and curl to trust. */
import { existsSync, readFileSync } from 'node:fs';
import { Command } from 'commander';
import { layout } from '../model/layout.ts';
import { dataOption, existingDataDir } from './data-dir.ts';

export function caCommand(): Command {
  return new Command('ca')
    .description('print the root certificate (PEM) of the local authority')
    .addOption(dataOption())
    .addHelpText(
      'after',
      `
Examples:
  selvedge ca > selvedge-ca.pem
  curl --cacert selvedge-ca.pem https://welcome.edge.workers.localhost:8443`,
    )
    .action(({ data }) => {
      const path = layout(existingDataDir(data)).caCertificate;
      if (!existsSync(path)) throw new Error('there is no authority yet: it is made at the first start');
      process.stdout.write(readFileSync(path));
    });
}
