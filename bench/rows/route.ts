import { Routes } from '../../src/edge/route.ts';
import { interleaved, type Row } from '../lib.ts';

const LARGE = 100_000;
const SMALL = 10;
const LOOKUPS = 2_000;
const BATCHES = 150;

/** Half of the zones have a route for their own host, half for all hosts below them, as 100 accounts would have set them. */
function routesOf(count: number): Routes {
  const routes = new Routes('workers.localhost');
  for (let i = 0; i < count; i++) {
    const pattern = i % 2 === 0 ? `zone-${i}.example/shop/*` : `*.zone-${i}.example/*`;
    routes.apply({
      key: `route/zone-${i}/r`,
      doc: {
        kind: 'route',
        id: `r${i}`,
        zoneName: `zone-${i}.example`,
        accountId: `a${i % 100}`,
        pattern,
        script: `s${i}`,
      },
    });
  }
  return routes;
}

/** Nanoseconds per look-up. Hosts and paths are strings that were just read, as in a request: their hashes are not known yet. */
function nanoseconds(routes: Routes, count: number): number {
  let spent = 0n;
  let found = 0;
  for (let batch = 0; batch < BATCHES; batch++) {
    const asked = Array.from({ length: LOOKUPS }, () => {
      const i = Math.floor(Math.random() * count);
      const host = i % 2 === 0 ? `zone-${i}.example` : `www.zone-${i}.example`;
      return { host: fresh(host), path: fresh('/shop/cart?item=1') };
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
  what: `route lookup at ${LARGE} routes`,
  against: `at ${SMALL} routes`,
  goal: '<= 2x',
  async run() {
    const large = routesOf(LARGE);
    const small = routesOf(SMALL);
    nanoseconds(small, SMALL);
    nanoseconds(large, LARGE);
    const { a, b, ratio } = await interleaved(
      7,
      () => nanoseconds(large, LARGE),
      () => nanoseconds(small, SMALL),
    );
    return {
      measured: `${ratio.toFixed(2)}x`,
      detail: `${a.toFixed(0)} and ${b.toFixed(0)} ns, hosts at random`,
      met: ratio <= 2,
    };
  },
};
