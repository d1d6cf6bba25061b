/** All tests, by node:test: first the units, two files at a time, then the end-to-end tests with a whole Selvedge each. */
import { spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const TIMEOUT_MS = 180_000;
const files = globSync(['src/**/*.test.ts', 'test/**/*.test.ts', 'recipes/*/*.test.ts'], { cwd: root }).sort();
if (files.length === 0) {
  console.error('no test files found');
  process.exit(1);
}
// Unit tests sort last by name ("src"): they are the quick ones and go first.
const ordered = [...files.filter((file) => file.startsWith('src')), ...files.filter((file) => !file.startsWith('src'))];
const { status } = spawnSync(
  process.execPath,
  [
    '--disable-warning=ExperimentalWarning',
    '--test',
    '--test-concurrency=2',
    `--test-timeout=${TIMEOUT_MS}`,
    `--test-reporter=${process.env.CI ? 'dot' : 'spec'}`,
    '--test-reporter-destination=stdout',
    ...(process.env.CI ? ['--test-reporter=spec', '--test-reporter-destination=stdout'] : []),
    ...ordered,
  ],
  { cwd: root, stdio: 'inherit' },
);
process.exit(status ?? 1);
