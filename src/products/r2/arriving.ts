/** A large object while it comes from its source: readers have what is stored of it, and wait for the rest. Nothing of it is in memory. */
import { R2Error } from './limits.ts';

export interface Arrived {
  size: number;
  read(start: number, end: number): AsyncIterable<Buffer>;
}

export class Arriving {
  readonly #parts: Arrived[] = [];
  #failed = false;
  #news = Promise.withResolvers<void>();

  /** The next part is stored. All but the last have the same size. */
  add(part: Arrived): void {
    this.#parts.push(part);
    this.#tell();
  }

  /** No more will come: who waits for it is told. */
  fail(): void {
    this.#failed = true;
    this.#tell();
  }

  /** Bytes start..end (both inclusive) as they come. Throws R2Error ServiceUnavailable if the source broke off. */
  async *read(start: number, end: number): AsyncGenerator<Buffer> {
    for (let at = start; at <= end; ) {
      const size = this.#parts[0]?.size;
      const part = size === undefined ? undefined : this.#parts[Math.floor(at / size)];
      if (part) {
        const before = size! * Math.floor(at / size!);
        const to = Math.min(end - before, part.size - 1);
        yield* part.read(at - before, to);
        at = before + to + 1;
      } else if (this.#failed) {
        throw new R2Error(
          'ServiceUnavailable',
          'The object is not here, and its source broke off in the middle of it.',
        );
      } else {
        await this.#news.promise;
      }
    }
  }

  #tell(): void {
    this.#news.resolve();
    this.#news = Promise.withResolvers();
  }
}
