/** Files of Durable Objects, in the runtime's own layout: `<objects>/<storage>/<namespace>/<object>.sqlite`. Read and removed here, written by isolate processes. */
import { chown, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';

const OBJECT = /^([0-9a-f]{64})\.sqlite$/;

/** Ends the name of what is being replaced. */
const OLD = '.old';

export interface ObjectFiles {
  /** Ids of the objects of a namespace that have stored something, in order. */
  list(storage: string, namespace: string): Promise<string[]>;
  /** Storages that have a directory of this name. */
  storagesWith(namespace: string): Promise<string[]>;
  /** Bytes of a namespace's files. */
  sizeOf(storage: string, namespace: string): Promise<number>;
  /** Puts the directory `from` in the place of a namespace's, which nobody uses. After a crash one of the two is there, once `recover` has run. */
  replace(storage: string, namespace: string, from: string): Promise<void>;
  /** Ends replacements of this namespace that a crash has cut. */
  recover(namespace: string): Promise<void>;
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
      const names = await readdir(at(storage, namespace)).catch(absent);
      return names.flatMap((name) => OBJECT.exec(name)?.[1] ?? []).sort();
    },
    async storagesWith(namespace) {
      const all = await readdir(directory).catch(absent);
      const found = await Promise.all(
        all.map(async (storage) =>
          (await readdir(join(directory, storage)).catch(absent)).includes(namespace) ? storage : [],
        ),
      );
      return found.flat();
    },
    async sizeOf(storage, namespace) {
      const path = join(at(storage), namespace);
      const names = (await readdir(path).catch(absent)).filter((name) => OBJECT.test(name));
      const sizes = await Promise.all(
        names.map(async (name) => (await stat(join(path, name)).catch(() => ({ size: 0 }))).size),
      );
      return sizes.reduce((sum, size) => sum + size, 0);
    },
    async replace(storage, namespace, from) {
      const target = join(at(storage), namespace);
      const { uid, gid } = await stat(at(storage));
      for (const name of ['', ...(await readdir(from))]) await chown(join(from, name), uid, gid);
      await rm(target + OLD, { recursive: true, force: true });
      await rename(target, target + OLD);
      await rename(from, target);
      await synced(at(storage));
      await rm(target + OLD, { recursive: true, force: true });
    },
    async recover(namespace) {
      for (const storage of await this.storagesWith(namespace + OLD)) {
        const target = join(directory, storage, namespace);
        const isWhole = (await this.storagesWith(namespace)).includes(storage);
        if (isWhole) await rm(target + OLD, { recursive: true, force: true });
        else await rename(target + OLD, target);
      }
    },
    async remove(storage, namespace) {
      await rm(namespace === null ? at(storage) : at(storage, namespace), { recursive: true, force: true });
    },
  };
}

function absent(error: NodeJS.ErrnoException): string[] {
  if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return [];
  throw error;
}

async function synced(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
