/** `npm run soak [-- --minutes <n>]`: the soak test for a long time; 30 minutes if nothing is said. */
import { parseArgs } from 'node:util';
import { soak } from './soak.ts';

const DEFAULT_MINUTES = 30;

const { values } = parseArgs({ options: { minutes: { type: 'string', default: String(DEFAULT_MINUTES) } } });
const minutes = Number(values.minutes);
if (!(minutes > 0)) {
  console.error('--minutes takes a number above 0');
  process.exit(1);
}
const { counts, memory, problems } = await soak(minutes * 60, (line) => console.log(line));
for (const [name, { done, failed }] of Object.entries(counts))
  console.log(`${name}: ${done} rounds${failed > 0 ? `, ${failed} failed` : ''}`);
for (const [name, { early, late }] of Object.entries(memory))
  console.log(
    `memory of ${name}: ${(early / 1024 ** 2).toFixed(1)} MB, at the end ${(late / 1024 ** 2).toFixed(1)} MB`,
  );
for (const problem of problems) console.error(`NOT as it should be: ${problem}`);
console.log(problems.length === 0 ? 'All is flat, nothing leaked.' : `${problems.length} problems`);
process.exit(problems.length === 0 ? 0 : 1);
