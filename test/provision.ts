/**
 * Before the tests: installs the Debian packages that they use where that is possible, and says by name what will be tested less without
 * them. Never fails the run.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, globSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Package -> the command that shows it is there, and what is lost without it. */
const PACKAGES: Record<string, { command: string; without: string }> = {
  chromium: { command: 'chromium', without: 'pages are not tested in a browser' },
  'testssl.sh': { command: 'testssl', without: 'the TLS of the listener is not audited' },
  rclone: { command: 'rclone', without: 'the S3 API is not tested with rclone' },
  s3cmd: { command: 's3cmd', without: 'the S3 API is not tested with s3cmd' },
  bubblewrap: { command: 'bwrap', without: 'the bubblewrap level of the sandbox is not tested' },
};
const ROOT = join(import.meta.dirname, '..');
const INSTALL_TIMEOUT_MS = 300_000;

const missing = Object.keys(PACKAGES).filter((name) => !has(PACKAGES[name]!.command));
if (missing.length > 0 && process.getuid?.() === 0 && has('apt-get')) {
  console.log(`Installing Debian packages for the tests: ${missing.join(', ')}`);
  const run = (args: string[]) =>
    spawnSync('apt-get', args, {
      timeout: INSTALL_TIMEOUT_MS,
      stdio: 'ignore',
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    });
  if (run(['install', '-y', '--no-install-recommends', ...missing]).status !== 0) {
    run(['update']);
    run(['install', '-y', '--no-install-recommends', ...missing]);
  }
}
for (const [name, { command, without }] of Object.entries(PACKAGES)) {
  if (!has(command)) console.log(`Without the Debian package ${name}: ${without} (apt-get install ${name})`);
}

// Recipes that are built with a tool of their own have packages of their own.
for (const lock of globSync('recipes/*/package-lock.json', { cwd: ROOT })) {
  const cwd = dirname(join(ROOT, lock));
  if (existsSync(join(cwd, 'node_modules'))) continue;
  console.log(`Installing the packages of ${dirname(lock)}`);
  const { status, stderr } = spawnSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], {
    cwd,
    encoding: 'utf8',
    timeout: INSTALL_TIMEOUT_MS,
  });
  if (status !== 0) console.log(`They could not be installed, and its tests will fail:\n${stderr}`);
}

function has(command: string): boolean {
  try {
    execFileSync('sh', ['-c', `command -v ${command}`], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
