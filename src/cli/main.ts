/** The command `selvedge`. One file per command; each says what went wrong in one line and ends with a non-zero status. */
import { Command } from 'commander';
import { accountCommand } from './account.ts';
import { caCommand } from './ca.ts';
import { configCommand } from './config.ts';
import { doctorCommand } from './doctor.ts';
import { r2Command } from './r2.ts';
import { rolloutCommand } from './rollout.ts';
import { statusCommand } from './status.ts';
import { tokenCommand } from './token.ts';
import { upCommand } from './up.ts';
import { usageCommand } from './usage.ts';
import { wranglerCommand } from './wrangler.ts';
import { zoneCommand } from './zone.ts';

const program = new Command('selvedge')
  .description('An edge cloud that you run yourself: Workers on workerd, deployed by the unmodified wrangler.')
  .version('0.1.0')
  // Options after `wrangler deploy` are wrangler's.
  .enablePositionalOptions()
  .showHelpAfterError('(run with --help for what it takes)')
  .addHelpText(
    'after',
    `
Examples:
  selvedge up                       start the edge on this machine, data in ./.selvedge
  selvedge wrangler -- deploy       deploy the Worker in this folder to it
  selvedge status                   what runs now
  selvedge doctor                   what this machine offers`,
  );

for (const command of [
  upCommand(),
  statusCommand(),
  configCommand(),
  doctorCommand(),
  accountCommand(),
  tokenCommand(),
  zoneCommand(),
  rolloutCommand(),
  r2Command(),
  usageCommand(),
  caCommand(),
  wranglerCommand(),
]) {
  program.addCommand(command);
}

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`selvedge: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}
