/** `selvedge wrangler -- <args>`: the official wrangler, told where this edge is. */
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { Command } from 'commander';
import { dataOption, existingDataDir, readWranglerEnv, requireRunning } from './data-dir.ts';

export function wranglerCommand(): Command {
  return new Command('wrangler')
    .description('run wrangler against this edge')
    .argument('[args...]', 'what wrangler takes; options of this command come before it')
    .passThroughOptions()
    .addOption(dataOption())
    .addHelpText(
      'after',
      `
Examples:
  selvedge wrangler -- deploy
  selvedge wrangler -- tail my-worker --format json
  selvedge wrangler -- secret put API_KEY`,
    )
    .action(async (args: string[], { data }) => {
      const dataDir = existingDataDir(data);
      requireRunning(dataDir);
      const child = spawn(process.execPath, [wranglerPath(), ...args], {
        stdio: 'inherit',
        env: wranglerEnvironment(dataDir),
      });
      process.on('SIGTERM', () => child.kill('SIGTERM'));
      // A terminal's Ctrl-C reaches wrangler by itself, and twice would not let it clean up.
      process.on('SIGINT', () => process.stdin.isTTY || child.kill('SIGINT'));
      process.exitCode = await new Promise<number>((resolve, reject) => {
        child.on('error', reject).on('exit', (code) => resolve(code ?? 1));
      });
    });
}

/** This process's environment with the edge's address; credentials for Cloudflare itself are left out. */
function wranglerEnvironment(dataDir: string): NodeJS.ProcessEnv {
  const { CLOUDFLARE_API_KEY, CLOUDFLARE_EMAIL, CF_API_TOKEN, CF_API_KEY, CF_ACCOUNT_ID, ...environment } = process.env;
  return { ...environment, ...readWranglerEnv(dataDir), WRANGLER_SEND_METRICS: 'false' };
}

/** The wrangler that npm installed; throws one clear sentence if it was left out (`npm ci --omit=dev`). */
function wranglerPath(): string {
  try {
    return join(dirname(createRequire(import.meta.url).resolve('wrangler/package.json')), 'bin', 'wrangler.js');
  } catch {
    throw new Error('wrangler is not installed here: run `npm ci`, or source wrangler.env and use your own');
  }
}
