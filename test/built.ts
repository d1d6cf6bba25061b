/** Recipes that are built with a tool of their own, which has its own package.json: installed before the tests by `provision.ts`. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

const TIMEOUT_MS = 100_000;

/** Runs a script of the recipe's package.json. Throws with what it printed. */
export function build(directory: string, script = 'build'): void {
  if (!existsSync(join(directory, 'node_modules')))
    throw new Error(
      `the packages of ${directory} are not installed: run \`npm ci --ignore-scripts\` there, or \`npm test\``,
    );
  const { status, stdout, stderr } = spawnSync('npm', ['run', script], {
    cwd: directory,
    encoding: 'utf8',
    timeout: TIMEOUT_MS,
  });
  if (status !== 0) throw new Error(`npm run ${script} ended with ${status}:\n${stdout}\n${stderr}`);
}
