/** Files of Durable Objects, in the runtime's own layout: `<objects>/<storage>/<namespace>/<object>.sqlite`. Read and removed here, written by isolate processes. */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

const OBJECT = /^([0-9a-f]{64})\.sqlite$/;

export interface ObjectFiles {
  /** Ids of the objects of a namespace that have stored something, in order. */
  list(storage: string, namespace: string): Promise<string[]>;
  /** Removes all objects of a namespace, or (null) of the whole storage. */
  remove(storage: string, namespace: string | null): Promise<void>;
}

/** `directory`: of all objects of the machine. */
export function openObjectFiles(directory: string): ObjectFiles {
  const at = (...parts: string[]) => {
    if (!parts.every((part) => /^[0-9a-f]{32}$/.test(part))) throw new TypeError('not a storage of Durable Objects');
    return join(directory, ...parts);
  };
  return {
    async list(storage, namespace) {
      const names = await readdir(at(storage, namespace)).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return [];
        throw error;
      });
      return names.flatMap((name) => OBJECT.exec(name)?.[1] ?? []).sort();
    },
    async remove(storage, namespace) {
      await rm(namespace === null ? at(storage) : at(storage, namespace), { recursive: true, force: true });
    },
  };
}
