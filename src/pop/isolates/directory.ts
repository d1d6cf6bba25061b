/**
 * The directory of an isolate process, its working directory; bubblewrap shows it as /s. Two owners, who must not trust each other:
 *
 *   <runDir>/i/<id>/      the supervisor's: sockets that the data process opens there, egress.sock, cache.sock, tail.sock, assets.sock,
 *                         svc-<n>.sock. The process may connect, not write.
 *   <runDir>/i/<id>/own/  the process's, until it listens: m.sock (HTTP), p.sock (system Worker), r-<n>.sock (entrypoints for others),
 *                         i.sock (inspection).
 *
 * A process that broke out of the runtime could otherwise put links there that lead the supervisor's uid (data process: chmod, edge:
 * connect) to files and sockets of the machine. Where all have one uid only bubblewrap keeps it from the upper directory, and `own` stays
 * its own: a uid for each needs root.
 */
import { chmodSync, chownSync, lstatSync } from 'node:fs';
import { chmod, chown, lchown, mkdir, readdir, rmdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { OBJECTS_DIRECTORY } from '../../products/durable-objects/binding.ts';

/** Name of the part that the process may write to. */
export const OWN = 'own';

/** Files of the Durable Objects of one namespace. */
export interface ObjectDirectory {
  /** What the process knows it by. */
  name: string;
  /** On the host, absolute. */
  path: string;
}

/**
 * Makes it, anew: throws if it is there already. `uid`: of the process, also its gid; null if it has the supervisor's. `objects`: where the
 * files of its Durable Objects are, made if they are not there; the sandbox mounts each over an empty directory of the process's.
 */
export async function makeDirectory(
  directory: string,
  uid: number | null,
  objects: ObjectDirectory[] = [],
): Promise<void> {
  const own = join(directory, OWN);
  await mkdir(directory, { mode: 0o700 });
  await mkdir(own, { mode: 0o700 });
  if (objects.length > 0) await mkdir(join(directory, OBJECTS_DIRECTORY), { mode: 0o755 });
  for (const { name, path } of objects) {
    await mkdir(join(directory, OBJECTS_DIRECTORY, name), { mode: 0o755 });
    await makeObjects(path, uid);
  }
  if (uid === null) return;
  await chown(own, uid, uid);
  await chown(directory, process.getuid!(), uid);
  await chmod(directory, 0o710);
}

/** Removes what `makeDirectory` made while it is still empty. Needs no descriptor: there may be none. */
export async function unmakeDirectory(directory: string): Promise<void> {
  await rmdir(join(directory, OWN));
  await rmdir(directory);
}

/**
 * Takes `own` from a process that listens, and checks that `files` in it are sockets that the process made. Throws if one is not. What
 * is there afterwards the process cannot change (if it has a uid of its own).
 */
export function sealDirectory(directory: string, uid: number | null, files: string[]): void {
  const own = join(directory, OWN);
  if (uid !== null) {
    chownSync(own, process.getuid!(), uid);
    chmodSync(own, 0o710);
  }
  for (const file of files) {
    const found = lstatSync(join(own, file));
    if (!found.isSocket() || found.uid !== (uid ?? process.getuid!()))
      throw new Error(`${file} is not a socket of its process`);
  }
}

async function makeObjects(objects: string, uid: number | null): Promise<void> {
  await mkdir(objects, { recursive: true, mode: 0o700 });
  if (uid === null || (await stat(objects)).uid === uid) return;
  // The uid of a Worker with objects stays the same; this is for what came from another Worker, and what another machine or another sandbox
  // left. The directory comes last: a start that was cut begins again. No link that a process may have put there is followed.
  for (const name of await readdir(objects, { recursive: true })) await lchown(join(objects, name), uid, uid);
  await chown(objects, uid, uid);
}
