/**
 * One writer at a time per Worker inside the core. Compare-and-set in the ledger already keeps writes from being lost; this keeps a
 * whole operation together (read the latest version, take over its secrets, write the next), so that a secret put during an upload
 * is not dropped by it.
 */
const tails = new Map<string, Promise<unknown>>();

/** Runs `work` with all these keys. They are taken in one order, so that two of these never wait for each other. */
export function serializedAll<T>(keys: Iterable<string>, work: () => Promise<T>): Promise<T> {
  const inOrder = [...new Set(keys)].sort();
  return inOrder.reduceRight<() => Promise<T>>((inner, key) => () => serialized(key, inner), work)();
}

/** Runs `work` after all earlier work of the same key has ended, well or badly. */
export function serialized<T>(key: string, work: () => Promise<T>): Promise<T> {
  const before = tails.get(key) ?? Promise.resolve();
  const run = before.then(work, work);
  const settled = run.then(
    () => undefined,
    () => undefined,
  );
  tails.set(key, settled);
  void settled.then(() => {
    if (tails.get(key) === settled) tails.delete(key);
  });
  return run;
}
