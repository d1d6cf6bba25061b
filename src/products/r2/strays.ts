/**
 * Bodies on disk that no document names: a process was killed, or the machine, between a body and its document. Each sweep looks at one of the 256
 * folders; what it finds is removed if the next one finds the same, an hour later. Every document that names a body has to be looked at here:
 * parts, objects with their pieces, and garbage.
 */
import type { FileBlobs } from '../../state/file-blobs.ts';
import type { Ledger } from '../../state/ledger.ts';
import { type Garbage, keys, type Piece, type StoredObject, type UploadedPart } from './documents.ts';

/** Younger bodies may be about to be named. */
const STRAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;
const PAGE = 500;
export const FOLDERS = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, '0'));

export class Strays {
  readonly #ledger: Ledger;
  readonly #blobs: Pick<FileBlobs, 'older' | 'delete'>;
  readonly #pause: () => Promise<unknown>;
  /** Found by the search before. */
  #suspects: ReadonlySet<string> = new Set();
  #found = new Set<string>();

  constructor(ledger: Ledger, blobs: Pick<FileBlobs, 'older' | 'delete'>, pause: () => Promise<unknown>) {
    this.#ledger = ledger;
    this.#blobs = blobs;
    this.#pause = pause;
  }

  /**
   * Begins a search. Bodies of parts become those of objects, and those of objects garbage, while it goes on: so the parts are looked at here,
   * then all objects must be shown to `named`, and `finish` looks at the garbage. `now` in ms since 1970.
   */
  async begin(now: number, folders = [FOLDERS[Math.floor(now / HOUR_MS) % FOLDERS.length]!]): Promise<void> {
    this.#found = new Set(this.#suspects);
    for (const folder of folders) {
      for (const hash of await this.#blobs.older(folder, now - STRAY_MS)) this.#found.add(hash);
    }
    await this.#each<UploadedPart>('part/', async ({ piece }) => this.#without(piece));
  }

  /** Documents of these bytes are there. */
  async named({ version, body }: Pick<StoredObject, 'version' | 'body'>): Promise<void> {
    if (this.#found.size === 0) return;
    if (typeof body !== 'number') return this.#without(body);
    const entry = await this.#ledger.get<{ pieces: Piece[] }>(keys.pieces(version));
    for (const piece of entry?.value.pieces ?? []) this.#without(piece);
  }

  /** Removes what was found twice; how many. */
  async finish(): Promise<number> {
    await this.#each<Garbage>(keys.garbages, (garbage) => this.named(garbage));
    const twice = [...this.#found].filter((hash) => this.#suspects.has(hash));
    for (const hash of twice) {
      await this.#blobs.delete(hash);
      this.#found.delete(hash);
    }
    this.#suspects = this.#found;
    return twice.length;
  }

  #without(piece: Piece | null): void {
    if (piece) this.#found.delete(piece.blob);
  }

  async #each<T>(prefix: string, look: (value: T) => Promise<void>): Promise<void> {
    for (let after: string | undefined; this.#found.size > 0; await this.#pause()) {
      const page = await this.#ledger.list<T>(prefix, { limit: PAGE, ...(after && { after }) });
      if (page.length === 0) return;
      for (const { value } of page) await look(value);
      after = page.at(-1)!.key;
    }
  }
}
