/** `npm run fuzz`: both fuzzers for long. `-- --minutes 10 --seed 1` */
import { parseArgs } from 'node:util';
import { startEdge } from '../harness.ts';
import { fuzzApi } from './api.ts';
import { fuzzEdge, WITNESS } from './edge.ts';

const { values } = parseArgs({ options: { minutes: { type: 'string', default: '10' }, seed: { type: 'string' } } });
const seed = Number(values.seed ?? Date.now() % 1e9);
const milliseconds = (Number(values.minutes) * 60_000) / 2;
console.log(`Fuzzing for ${values.minutes} minutes, seed ${seed}`);
const edge = await startEdge();
try {
  const project = await edge.project(
    { name: 'witness', main: 'w.js', compatibility_date: '2026-11-01' },
    { 'w.js': WITNESS },
  );
  await edge.deployed(['deploy'], { cwd: project });
  console.log(`${await fuzzEdge(edge, edge.host('witness'), seed, milliseconds)} requests at the edge: nothing found`);
  console.log(`${await fuzzApi(edge, seed, milliseconds)} calls of the control API: nothing found`);
} finally {
  await edge.close();
}
