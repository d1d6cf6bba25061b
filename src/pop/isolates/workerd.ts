/** Where the pinned runtime is. */
import { createRequire } from 'node:module';

let path: string | undefined;

/** Path of the workerd binary that npm installed for this platform. Throws one clear sentence where there is none. */
export function workerdPath(): string {
  const name = `@cloudflare/workerd-linux-${process.arch === 'arm64' ? 'arm64' : '64'}`;
  try {
    // Once: looking for it takes descriptors, and every start asks.
    path ??= createRequire(import.meta.url).resolve(`${name}/bin/workerd`);
    return path;
  } catch {
    throw new Error(`the runtime ${name} is not installed: run \`npm ci\` on Linux (x64 or arm64)`);
  }
}
