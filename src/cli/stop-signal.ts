/** The signals that stop a running machine. */

/** One Ctrl-C comes several times: from the terminal, and passed on by npm and by the process before this one. */
const SAME_SIGNAL_MS = 500;

/** Resolves at the first SIGINT or SIGTERM; calls `force` at the next one that is another press of the key. */
export function stopSignal(force: () => void): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let firstAt: number | null = null;
    const onSignal = (signal: NodeJS.Signals) => {
      if (firstAt === null) {
        firstAt = performance.now();
        resolve(signal);
      } else if (performance.now() - firstAt > SAME_SIGNAL_MS) force();
    };
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, onSignal);
  });
}
