/** `npm run bench [row ...]`: measures and writes bench/README.md. Ratios are between two things measured in turns in the same run. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { availableParallelism, cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { workerdPath } from '../src/pop/isolates/workerd.ts';
import type { Row } from './lib.ts';
import { need } from './programs.ts';
import { row as bodies } from './rows/bodies.ts';
import { row as cacheHit } from './rows/cache-hit.ts';
import { row as coldStart } from './rows/cold-start.ts';
import { row as deploy } from './rows/deploy.ts';
import { row as flood } from './rows/flood.ts';
import { row as hello } from './rows/hello.ts';
import { row as http2 } from './rows/http2.ts';
import { row as idleConnections } from './rows/idle-connections.ts';
import { row as kvCold } from './rows/kv-cold.ts';
import { row as kvDev } from './rows/kv-dev.ts';
import { row as kvHot } from './rows/kv-hot.ts';
import { row as kvMany } from './rows/kv-many.ts';
import { row as kvPut } from './rows/kv-put.ts';
import { row as latency } from './rows/latency.ts';
import { row as memory } from './rows/memory.ts';
import { row as neighbour } from './rows/neighbour.ts';
import { row as objectBroadcast } from './rows/object-broadcast.ts';
import { row as objectIncrement } from './rows/object-increment.ts';
import { row as passthrough } from './rows/passthrough.ts';
import { row as r2S3 } from './rows/r2-s3.ts';
import { row as replacement } from './rows/replacement.ts';
import { row as route } from './rows/route.ts';
import { row as switchOver } from './rows/switch-over.ts';
import { row as websockets } from './rows/websockets.ts';
import { row as wranglerDev } from './rows/wrangler-dev.ts';

const ROWS: Record<string, Row> = {
  hello,
  'wrangler-dev': wranglerDev,
  'cold-start': coldStart,
  deploy,
  'switch-over': switchOver,
  memory,
  neighbour,
  replacement,
  passthrough,
  http2,
  latency,
  bodies,
  'idle-connections': idleConnections,
  flood,
  route,
  websockets,
  'kv-hot': kvHot,
  'kv-dev': kvDev,
  'kv-cold': kvCold,
  'kv-put': kvPut,
  'kv-many': kvMany,
  'object-increment': objectIncrement,
  'object-broadcast': objectBroadcast,
  'cache-hit': cacheHit,
  'r2-s3': r2S3,
};

const asked = process.argv.slice(2);
const rows = asked.length > 0 ? asked : Object.keys(ROWS);
const unknown = asked.find((name) => !(name in ROWS));
if (unknown) {
  console.error(`there is no row ${unknown}; the rows are: ${Object.keys(ROWS).join(', ')}`);
  process.exit(1);
}
try {
  need(rows.flatMap((name) => ROWS[name]!.needs ?? []));
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exit(1);
}

const lines: string[] = [];
for (const name of rows) {
  const row = ROWS[name]!;
  process.stdout.write(`${row.what}, against ${row.against} ... `);
  const { measured, detail, met } = await row.run();
  console.log(`${measured} (goal ${row.goal}: ${met ? 'met' : 'NOT met'}; ${detail})`);
  lines.push(
    `| ${row.what} | ${row.against} | ${row.goal} | ${met ? measured : `**${measured}**, not met`} | ${detail} |`,
  );
}
// A part of the table would replace the whole.
if (asked.length === 0) {
  const workerd = execFileSync(workerdPath(), ['--version'], { encoding: 'utf8' }).trim();
  writeFileSync(
    join(import.meta.dirname, 'README.md'),
    `# Benchmarks

Written by \`npm run bench\` on ${new Date().toISOString().slice(0, 10)}: ${availableParallelism()} cores (${cpus()[0]?.model}), ${Math.round(totalmem() / 1024 ** 3)} GB, Linux ${release()}, Node ${process.version}, ${workerd}.
Load generator, edge and Workers share the cores. Read the ratios, not the absolute figures: both sides of a ratio are measured in turns in the same run, and the median is given.

| what | against | goal | measured | detail |
| --- | --- | --- | --- | --- |
${lines.join('\n')}
`,
  );
}
