/** Durable Objects in the configuration of the one process that runs a Worker's objects: the runtime's own, on SQLite files. */
import type { Version, WorkerObjects } from '../../model/documents.ts';
import { list, literal, struct } from '../../pop/isolates/capnp.ts';

/** Where the process sees the Worker's objects, below its working directory. */
export const OBJECTS_DIRECTORY = 'do';
const SERVICE = 'objects';

/** Does this version have objects, so that only one process may run it? */
export function hasObjects(version: Version): boolean {
  return (version.objects?.namespaces.length ?? 0) > 0;
}

/** The directory of a namespace's objects: `<objects>/<storage>/<id>`. */
export interface Place {
  storage: string;
  id: string;
}

/** Where the objects of each namespace are: those that came from another Worker stay in the directory of that one. */
export function placesOf({ storage, namespaces }: WorkerObjects): Place[] {
  return namespaces.map((namespace) => ({ storage: namespace.storage ?? storage, id: namespace.id }));
}

/** The disk of the objects as a service. */
export const OBJECTS_SERVICE = struct({
  name: literal(SERVICE),
  disk: struct({ path: literal(OBJECTS_DIRECTORY), writable: 'true', allowDotfiles: 'true' }),
});

/** Fields of the user's Worker. `strict`: a process that only tries the script has nowhere to store. */
export function objectOptions(version: Version, strict: boolean): Record<string, string> {
  if (!hasObjects(version)) return {};
  return {
    durableObjectNamespaces: list(
      version.objects!.namespaces.map(({ id, className, sqlite }) =>
        struct({ className: literal(className), uniqueKey: literal(id), enableSql: sqlite ? 'true' : undefined }),
      ),
    ),
    durableObjectStorage: strict ? struct({ inMemory: 'void' }) : struct({ localDisk: literal(SERVICE) }),
  };
}

export function objectBindingText(name: string, className: string): string {
  return struct({ name: literal(name), durableObjectNamespace: literal(className) });
}
