import { Routes } from '../../src/model/route.ts';
import { interleaved, type Row } from '../lib.ts';

const LARGE = 100_000;
const SMALL = 10;
const LOOKUPS = 2_000;
const BATCHES = 150;

/** Half of the zones have a route for their own host, half for all hosts below them. */
function routesOf(count: number): Routes {
  const routes = new Routes('workers.localhost');
  for (let i = 0; i < count; i++) {
    const zoneName = `zone-${i}.example`;
    const pattern = i % 2 === 0 ? `${zoneName}/shop/*` : `*.${zoneName}/*`;
    routes.apply({
      key: `route/${zoneName}/r`,
      doc: { kind: 'route', id: `r${i}`, zoneName, accountId: `a${i % 100}`, pattern, script: `s${i}` },
    });
  }
  return routes;
}

/**
 * Nanoseconds per look-up of hosts that `next` draws by number. Hosts and paths are strings that were just read, as in a request: their
 * hashes are not known yet.
 */
function nanoseconds(routes: Routes, next: () => number): number {
  let spent = 0n;
  let found = 0;
  for (let batch = 0; batch < BATCHES; batch++) {
    const asked = Array.from({ length: LOOKUPS }, () => {
      const i = next();
      const host = i % 2 === 0 ? `zone-${i}.example` : `www.zone-${i}.example`;
      return { host: fresh(host), path: fresh('/shop/cart') };
    });
    const before = process.hrtime.bigint();
    for (const { host, path } of asked) if (routes.find(host, path, 'https')) found++;
    spent += process.hrtime.bigint() - before;
  }
  if (found !== BATCHES * LOOKUPS) throw new Error(`${found} of ${BATCHES * LOOKUPS} hosts were found`);
  return Number(spent) / found;
}

function fresh(text: string): string {
  return Buffer.from(text).toString('latin1');
}

export const row: Row = {
  what: `route lookup at ${LARGE} routes, ten hosts that are asked for all the time`,
  against: `at ${SMALL} routes, the same`,
  goal: '<= 2x',
  async run() {
    const large = routesOf(LARGE);
    const small = routesOf(SMALL);
    // From the middle of the table, where numbers have as many digits as most.
    const first = LARGE / 2;
    const busy = () => first + Math.floor(Math.random() * SMALL);
    const few = () => Math.floor(Math.random() * SMALL);
    const any = () => Math.floor(Math.random() * LARGE);
    nanoseconds(small, few);
    nanoseconds(large, any);
    const { a, b, ratio } = await interleaved(
      7,
      () => nanoseconds(large, busy),
      () => nanoseconds(small, few),
    );
    return {
      measured: `${ratio.toFixed(2)}x`,
      detail: `${a.toFixed(0)} and ${b.toFixed(0)} ns; ${nanoseconds(large, any).toFixed(0)} ns where each request is for another one of the ${LARGE} hosts: then all of the table has to come from memory`,
      met: ratio <= 2,
    };
  },
};
