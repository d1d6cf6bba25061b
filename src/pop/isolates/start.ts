/** Gives a zygote its configuration and waits until it listens, or tells why it does not. */
import type { Readable } from 'node:stream';
import { StartError } from './config.ts';
import { lastOutput } from './output.ts';
import { cpuMs, privateBytes } from './process-stats.ts';
import type { Zygote } from './zygotes.ts';

/** A script may allocate a gigabyte a second while it starts. */
const CHECK_MS = 50;
/** A process whose sandbox is not set up yet is looked at this often; zygotes that waited are past that. */
const RUNS_CHECK_MS = 2;

export interface StartLimits {
  wallMs: number;
  /** CPU time from configuration to listening. */
  cpuMs: number;
  /** Memory that the process shares with no file. */
  bytes: number;
}

export interface Started {
  /** Ms from configuration written to listening. */
  startupTimeMs: number;
  /** The last of what the process wrote, for the reason of its end. */
  output: () => string;
}

/**
 * Starts the process with `config` (binary Cap'n Proto). Throws StartError with the runtime's message, or with "Script startup exceeded CPU
 * time limit." or "... memory limit." The process has ended in that case.
 */
export function start(zygote: Zygote, config: Buffer, limits: StartLimits): Promise<Started> {
  const child = zygote.process;
  let began = 0;
  let cpuBefore: number | null = null;
  // Its log lines, the Worker's among them, go to one; what V8 says of its end to both.
  const outputs = [lastOutput(child.stdout!), lastOutput(child.stderr!)];
  const output = () => outputs.map((last) => last()).join('\n');
  return new Promise((resolve, reject) => {
    const settle = (settled: () => void) => {
      clearInterval(limitTimer);
      clearTimeout(wallTimer);
      clearTimeout(giveTimer);
      child.off('close', onClose);
      settled();
    };
    const exceeded = (what: string) => {
      settle(() => reject(new StartError(`Script startup exceeded ${what} limit.`)));
      child.kill('SIGKILL');
    };
    // Not 'exit': what the process wrote last may arrive after that.
    const onClose = () => settle(() => reject(new StartError(startupMessage(output()))));
    const limitTimer = setInterval(() => {
      if (cpuBefore === null) return;
      const pid = zygote.workerdPid();
      if ((cpuMs(pid) ?? 0) - cpuBefore > limits.cpuMs) exceeded('CPU time');
      else if ((privateBytes(pid) ?? 0) > limits.bytes) exceeded('memory');
    }, CHECK_MS);
    const wallTimer = setTimeout(() => exceeded('CPU time'), limits.wallMs);
    child.once('close', onClose);
    const control = child.stdio[3] as Readable;
    // Sockets are told only after the script was evaluated: the first one says that all went well.
    control.once('data', () => {
      control.resume();
      settle(() => resolve({ startupTimeMs: Math.max(1, Math.round(performance.now() - began)), output }));
    });
    let giveTimer: NodeJS.Timeout | undefined;
    const give = () => {
      if (!zygote.runs()) {
        giveTimer = setTimeout(give, RUNS_CHECK_MS);
        return;
      }
      began = performance.now();
      cpuBefore = cpuMs(zygote.workerdPid()) ?? 0;
      child.stdin!.end(config);
    };
    give();
  });
}

/** What the runtime wrote about the failed start, without its own noise. Structured log lines carry it in `message`. */
function startupMessage(output: string): string {
  const messages: string[] = [];
  for (const line of output.split('\n')) {
    let message = line;
    if (line.startsWith('{')) {
      try {
        const parsed = JSON.parse(line) as { message?: unknown; level?: string };
        if (parsed.level !== undefined && parsed.level !== 'error') continue;
        message = String(parsed.message ?? line);
      } catch {
        // A line that only looks like JSON.
      }
    }
    if (/^Unable to find and open the program executable/.test(message) || message.trim() === '') continue;
    // The last frame may be the runtime's own call of the script, named after the service.
    messages.push(
      message.replace(/^service (user|inspect): /, '').replace(/\n\s+at [^\n]*\((user|inspect):\d+:\d+\)/g, ''),
    );
  }
  // A script that threw has no handlers: the reason is enough.
  if (messages.length > 1 && messages.some((message) => message.startsWith('Uncaught'))) {
    const reasons = messages.filter((message) => !message.startsWith('No event handlers were registered'));
    messages.splice(0, messages.length, ...reasons);
  }
  // Both Workers of an inspection may complain of the same thing.
  return (
    [...new Set(messages)].join('\n').slice(0, 4000) || 'The script does not start and the runtime did not say why.'
  );
}
