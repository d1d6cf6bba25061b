/**
 * Name lookups of one account. `dns.lookup` occupies a thread of libuv's small pool for as long as a name server makes it wait, and
 * anybody may run a slow name server: so an account has few lookups at a time, others of it wait, the same name is asked once for all
 * who wait for it, and answers are kept for moments. What is kept is checked again with each use (`addresses.ts`).
 */
import type { LookupAddress } from 'node:dns';
import type { Resolve } from './addresses.ts';

/** Lookups of one account at a time; `pop/children.ts` gives the data process threads for several such accounts. */
const CONCURRENT = 2;
/** Names that wait; more are refused as if the name server did not answer. */
const MAX_WAITING = 256;
const KEPT_MS = 5_000;
const MAX_KEPT = 512;

type Callback = (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void;

/** The same as `resolve`, bounded as said above. The options of the first who asks for a name count. */
export function boundedResolve(resolve: Resolve, keptMs = KEPT_MS): Resolve {
  const kept = new Map<string, { addresses: LookupAddress[]; until: number }>();
  const asked = new Map<string, Callback[]>();
  const waiting: (() => void)[] = [];
  let running = 0;

  function keep(name: string, addresses: LookupAddress[]): void {
    const [oldest] = kept.keys();
    if (kept.size >= MAX_KEPT && oldest !== undefined) kept.delete(oldest);
    kept.set(name, { addresses, until: Date.now() + keptMs });
  }

  return (hostname, options, callback) => {
    const name = `${options.family ?? 0} ${hostname.toLowerCase()}`;
    const known = kept.get(name);
    if (known && known.until > Date.now()) return queueMicrotask(() => callback(null, known.addresses));
    kept.delete(name);
    const others = asked.get(name);
    if (others) return void others.push(callback);
    if (running >= CONCURRENT && waiting.length >= MAX_WAITING) {
      const error = Object.assign(new Error('too many names are being looked up'), { code: 'EAI_AGAIN' });
      return queueMicrotask(() => callback(error, []));
    }
    const callbacks = [callback];
    asked.set(name, callbacks);
    const start = () => {
      running++;
      resolve(hostname, options, (error, addresses) => {
        running--;
        asked.delete(name);
        if (!error) keep(name, addresses);
        waiting.shift()?.();
        for (const each of callbacks) each(error, addresses);
      });
    };
    if (running < CONCURRENT) start();
    else waiting.push(start);
  };
}
