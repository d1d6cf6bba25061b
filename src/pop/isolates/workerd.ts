/** Where the pinned runtime is. */
import { createRequire } from 'node:module';

/** Path of the workerd binary that npm installed for this platform. Throws one clear sentence where there is none. */
export function workerdPath(): string {
  const name = `@cloudflare/workerd-linux-${process.arch === 'arm64' ? 'arm64' : '64'}`;
  try {
    return createRequire(import.meta.url).resolve(`${name}/bin/workerd`);
  } catch {
    throw new Error(`the runtime ${name} is not installed: run \`npm ci\` on Linux (x64 or arm64)`);
  }
}
