/** `selvedge config`: checks a configuration file, and prints the schema for editors. */
import { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import { jsonSchema } from '../config/schema.ts';
import { print } from './table.ts';

export function configCommand(): Command {
  const command = new Command('config').description('the configuration file selvedge.jsonc');
  command
    .command('check <file>')
    .description('say what is wrong in a configuration, or that nothing is')
    .option('--print', 'print it with all defaults')
    .addHelpText('after', '\nExample:\n  selvedge config check /etc/selvedge/selvedge.jsonc')
    .action((file: string, { print: whole }: { print?: boolean }) => {
      const config = loadConfig(file);
      print(whole ? JSON.stringify(config, null, 2) : `${file} is valid.`);
    });
  command
    .command('schema')
    .description('print the JSON schema for editors')
    .addHelpText('after', '\nExample:\n  selvedge config schema > selvedge.schema.json')
    .action(() => print(JSON.stringify(jsonSchema(), null, 2)));
  return command;
}
