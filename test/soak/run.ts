/** `npm run soak [-- --minutes <n>]`: the soak test for a long time; 30 minutes if nothing is said. */
import { parseArgs } from 'node:util';
import { type Growth, megabytes } from './readings.ts';
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
const grown = ({ early, late }: Growth) => `${megabytes(early)} MB, then ${megabytes(late)} MB`;
for (const [name, { live, all }] of Object.entries(memory))
  console.log(`${name}: alive ${grown(live)}; in all ${grown(all)}`);
for (const problem of problems) console.error(`NOT as it should be: ${problem}`);
console.log(problems.length === 0 ? 'All is flat, nothing leaked.' : `${problems.length} problems`);
process.exit(problems.length === 0 ? 0 : 1);
