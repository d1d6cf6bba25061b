/** So much of one kind of work at a time for each tenant: what one asks for keeps only himself waiting. */
export class Turns {
  readonly #most: number;
  readonly #busy = new Map<string, number>();
  readonly #waiting = new Map<string, (() => void)[]>();

  /** `most`: works of one tenant at a time. */
  constructor(most: number) {
    this.#most = most;
  }

  /** Does the work when it is its turn; in the order of the calls. */
  async take<T>(tenant: string, work: () => Promise<T>): Promise<T> {
    const busy = this.#busy.get(tenant) ?? 0;
    if (busy < this.#most) this.#busy.set(tenant, busy + 1);
    else await this.#turn(tenant);
    try {
      return await work();
    } finally {
      this.#passOn(tenant);
    }
  }

  #turn(tenant: string): Promise<void> {
    const line = this.#waiting.get(tenant) ?? [];
    this.#waiting.set(tenant, line);
    return new Promise((resolve) => line.push(resolve));
  }

  /** The next of the tenant takes the place; without one it is free. */
  #passOn(tenant: string): void {
    const line = this.#waiting.get(tenant);
    const next = line?.shift();
    if (line?.length === 0) this.#waiting.delete(tenant);
    if (next) {
      next();
      return;
    }
    const left = this.#busy.get(tenant)! - 1;
    if (left > 0) this.#busy.set(tenant, left);
    else this.#busy.delete(tenant);
  }
}
