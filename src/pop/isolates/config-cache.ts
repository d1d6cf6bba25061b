/**
 * Compiled configurations on disk, sealed because they hold secrets. Only a cache: it may be deleted at any time, and where it cannot be
 * read or written Workers start all the same.
 */
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Version } from '../../model/documents.ts';
import { log, reason } from '../../model/log.ts';
import type { Vault } from '../../state/vault.ts';
import { configName, type Variant } from './config.ts';

/** Configurations kept on disk. */
const MAX_CONFIGS = 1000;

export type Compile = (version: Version, variant: Variant) => Promise<Buffer>;

export class ConfigCache {
  readonly #directory: string;
  readonly #vault: Vault;
  readonly #compile: Compile;
  /** Configurations being made, by name: two starts of one version compile once. */
  readonly #making = new Map<string, Promise<Buffer>>();

  constructor(directory: string, vault: Vault, compile: Compile) {
    this.#directory = directory;
    this.#vault = vault;
    this.#compile = compile;
  }

  /** The configuration of a version, from disk or compiled. Throws what `compile` throws. */
  get(version: Version, variant: Variant): Promise<Buffer> {
    const name = configName(version, variant);
    let making = this.#making.get(name);
    if (!making) {
      making = this.#readOrCompile(join(this.#directory, name), version, variant).finally(() =>
        this.#making.delete(name),
      );
      this.#making.set(name, making);
    }
    return making;
  }

  async #readOrCompile(path: string, version: Version, variant: Variant): Promise<Buffer> {
    try {
      return this.#vault.unsealBytes(await readFile(path));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
        log('warn', 'a compiled configuration is made anew', { error: reason(error) });
    }
    const config = await this.#compile(version, variant);
    try {
      await this.#keep(path, config);
    } catch (error) {
      log('warn', 'a compiled configuration is not kept', { error: reason(error) });
    }
    return config;
  }

  async #keep(path: string, config: Buffer): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    await writeFile(`${path}.new`, this.#vault.sealBytes(config), { mode: 0o600 });
    await rename(`${path}.new`, path);
    await this.#bound();
  }

  /** Removes the configurations that were used longest ago. */
  async #bound(): Promise<void> {
    const names = await readdir(this.#directory);
    if (names.length <= MAX_CONFIGS) return;
    const ages = await Promise.all(
      names.map(async (name) => {
        const used = await stat(join(this.#directory, name)).then(
          ({ atimeMs }) => atimeMs,
          // Removed meanwhile.
          () => 0,
        );
        return { name, used };
      }),
    );
    ages.sort((a, b) => a.used - b.used);
    for (const { name } of ages.slice(0, names.length - MAX_CONFIGS))
      await rm(join(this.#directory, name), { force: true });
  }
}
