/** Both fuzzers for a short while. `npm run fuzz` runs them for long, with other seeds. */
import { after, it } from 'node:test';
import { fuzzApi } from './fuzz/api.ts';
import { fuzzEdge, WITNESS } from './fuzz/edge.ts';
import { startEdge } from './harness.ts';

const SEED = 20_261_121;
const MS = 10_000;
const edge = await startEdge({ args: ['--edges', '1', '--max-instances', '1'] });
after(() => edge.close());
const cwd = await edge.project(
  { name: 'witness', main: 'w.js', compatibility_date: '2026-11-01' },
  { 'w.js': WITNESS },
);
await edge.deployed(['deploy'], { cwd });

it('mutated requests neither kill the edge, nor keep its connections, nor reach a Worker as what they may not be', async (t) => {
  const thrown = await fuzzEdge(edge, edge.host('witness'), SEED, MS);
  t.diagnostic(`${thrown} requests, seed ${SEED}`);
});

it('wrong calls of the control API are refused, and never fail', async (t) => {
  const made = await fuzzApi(edge, SEED, MS);
  t.diagnostic(`${made} calls, seed ${SEED}`);
});
