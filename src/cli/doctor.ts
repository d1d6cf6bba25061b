/** `selvedge doctor`: what this machine offers, and what to do about what it does not. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import { resolve } from 'node:path';
import { Command } from 'commander';
import { layout } from '../model/layout.ts';
import { detectSandbox } from '../pop/isolates/sandbox.ts';
import { workerdPath } from '../pop/isolates/workerd.ts';
import { dataOption, readRunning } from './data-dir.ts';
import { portFree } from './ports.ts';
import { print, table } from './table.ts';

interface Finding {
  what: string;
  state: 'ok' | 'warn' | 'fail';
  detail: string;
}

const FILES_WANTED = 16_384;

export function doctorCommand(): Command {
  return new Command('doctor')
    .description('what this machine offers: runtime, sandbox level, limits, ports')
    .option('--json', 'as JSON')
    .addOption(dataOption())
    .addHelpText('after', '\nExample:\n  selvedge doctor --json')
    .action(async ({ data, json }) => {
      const findings = await examine(resolve(data));
      if (json) print(JSON.stringify(findings, null, 2));
      else
        print(
          table(
            ['', 'WHAT', 'FOUND'],
            findings.map((f) => [f.state, f.what, f.detail]),
          ),
        );
      if (findings.some(({ state }) => state === 'fail')) process.exitCode = 1;
    });
}

async function examine(dataDir: string): Promise<Finding[]> {
  const findings: Finding[] = [{ what: 'node', state: 'ok', detail: process.version }];
  findings.push(runtime(), await sandbox(), openFiles());
  findings.push({ what: 'cores', state: 'ok', detail: String(availableParallelism()) });
  findings.push({ what: 'memory', state: 'ok', detail: `${Math.round(totalmem() / 1024 ** 2)} MB` });
  const running = readRunning(dataDir);
  if (running) findings.push({ what: 'data', state: 'ok', detail: `${dataDir}, in use by pid ${running.pid}` });
  else {
    const known = existsSync(layout(dataDir).ledger);
    findings.push({
      what: 'data',
      state: 'ok',
      detail: known ? dataDir : `${dataDir} (will be made at the first start)`,
    });
    for (const [option, port] of [
      ['--http', 8080],
      ['--https', 8443],
      ['--api', 4400],
      ['--s3', 4401],
    ] as const) {
      const free = await portFree('127.0.0.1', port);
      findings.push({
        what: `port ${port}`,
        state: free ? 'ok' : 'warn',
        detail: free ? 'free' : `busy: choose another by ${option}`,
      });
    }
  }
  return findings;
}

function runtime(): Finding {
  try {
    return {
      what: 'workerd',
      state: 'ok',
      detail: execFileSync(workerdPath(), ['--version'], { encoding: 'utf8' }).trim(),
    };
  } catch (error) {
    return { what: 'workerd', state: 'fail', detail: error instanceof Error ? error.message : String(error) };
  }
}

async function sandbox(): Promise<Finding> {
  try {
    const { level, details } = await detectSandbox();
    const hint = level === 'bubblewrap' ? '' : '; `apt-get install bubblewrap` gives the strongest level';
    return {
      what: 'sandbox',
      state: level === 'bubblewrap' ? 'ok' : 'warn',
      detail: `${level}: ${details.join('; ')}${hint}`,
    };
  } catch (error) {
    return { what: 'sandbox', state: 'fail', detail: error instanceof Error ? error.message : String(error) };
  }
}

function openFiles(): Finding {
  // Linux tells it here; Node has no call for it.
  if (!existsSync('/proc/self/limits')) return { what: 'open files', state: 'ok', detail: 'see `ulimit -n`' };
  const limit = Number(/^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? 0);
  const enough = limit >= FILES_WANTED;
  return {
    what: 'open files',
    state: enough ? 'ok' : 'warn',
    detail: enough ? String(limit) : `${limit}: raise it with \`ulimit -n ${FILES_WANTED}\``,
  };
}
