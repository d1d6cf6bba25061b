/** `selvedge r2`: copies a bucket of S3 into one of R2. The running machine does the work; the command shows how far it is. */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Command, Option } from 'commander';
import { callApi } from './api.ts';
import { dataOption } from './data-dir.ts';
import { day } from './options.ts';
import { showUsage } from './r2-usage.ts';
import { print, table } from './table.ts';

const JOBS = '/accounts/{account}/slurper/jobs';
const POLL_MS = 1_000;
/** Where there is no terminal to write over. */
const LINE_MS = 5_000;
const SHOWN_JOBS = 20;
const SHOWN_FAILURES = 10;

/** As the API answers them. */
interface Job {
  id: string;
  createdAt: string;
  status: string;
  error: string | null;
  source: { endpoint: string; bucket: string; pathPrefix: string | null };
  target: { bucket: string };
}
interface Progress {
  status: string;
  objects: number;
  transferredObjects: number;
  skippedObjects: number;
  failedObjects: number;
  transferredBytes: number;
  error: string | null;
}
interface Entry {
  createdAt: string;
  logType: string;
  message: string | null;
  objectKey: string | null;
}

interface Where {
  data: string;
  account?: string;
}
interface SlurpOptions extends Where {
  bucket: string;
  from: string;
  accessKeyId?: string;
  secretFile?: string;
  region?: string;
  prefix?: string;
  overwrite: boolean;
  detach?: boolean;
}

export function r2Command(): Command {
  const command = new Command('r2')
    .description('what buckets use; move in from S3: copy a bucket, see how far that is')
    .addHelpText(
      'after',
      `
Examples:
  selvedge r2 slurp --bucket photos --from https://s3.eu-central-1.amazonaws.com/photos --access-key-id AKIA...
  selvedge r2 slurp --bucket photos --from https://minio.example.com/old --prefix 2025/ --no-overwrite ...
  selvedge r2 jobs                                  all jobs and how far they are
  selvedge r2 pause <job>                           also: resume, abort, logs
  selvedge r2 usage --from 2026-11-01               operations and bytes by bucket and day

The secret of the source comes from the variable AWS_SOURCE_SECRET_ACCESS_KEY or a file: arguments can be seen by everybody on the machine.`,
    );
  const subcommand = (name: string, description: string) =>
    command
      .command(name)
      .description(description)
      .option('--account <id>', 'account of the bucket (default: that of wrangler.env)')
      .addOption(dataOption());

  subcommand('slurp', 'copy a bucket of S3; Ctrl-C ends the command, not the job')
    .requiredOption('--bucket <name>', 'bucket here, made by `wrangler r2 bucket create`')
    .requiredOption('--from <url>', 'bucket there, https://host/bucket')
    .addOption(new Option('--access-key-id <id>', 'access key of the source').env('AWS_SOURCE_ACCESS_KEY_ID'))
    .option('--secret-file <file>', 'file with its secret (default: the variable AWS_SOURCE_SECRET_ACCESS_KEY)')
    .option('--region <region>', 'of the source (default: as its host says, or auto)')
    .option('--prefix <prefix>', 'only keys that begin so')
    .option('--no-overwrite', 'leave what is here under the same key')
    .option('--detach', 'do not wait for the end')
    .action(slurp);
  subcommand('jobs', 'the newest jobs').option('--json', 'as JSON').action(list);
  for (const [name, description] of [
    ['pause', 'begin no more objects'],
    ['resume', 'go on where a paused job stopped'],
    ['abort', 'end a job; what was copied stays'],
  ] as const) {
    subcommand(name, description)
      .argument('<job>', 'as `selvedge r2 jobs` shows it')
      .action(async (job: string, where: Where) =>
        print(await callApi<string>({ ...where, method: 'PUT', path: `${pathOf(job)}/${name}` })),
      );
  }
  subcommand('usage', 'operations and bytes by bucket and UTC day, and what the buckets hold')
    .option('--from <day>', 'first day, YYYY-MM-DD (UTC)', day)
    .option('--to <day>', 'last day, YYYY-MM-DD (UTC)', day)
    .option('--json', 'as JSON')
    .action(showUsage);
  subcommand('logs', 'what happened to a job, with the objects that failed')
    .argument('<job>', 'as `selvedge r2 jobs` shows it')
    .option('--json', 'as JSON')
    .action(async (job: string, { json, ...where }: Where & { json?: boolean }) => {
      const entries = await logsOf(where, job);
      if (json) return print(JSON.stringify(entries, null, 2));
      const rows = entries.map((e) => [e.createdAt, e.logType, e.objectKey ?? '', e.message ?? '']);
      print(table(['TIME', 'EVENT', 'OBJECT', 'REASON'], rows));
    });
  return command;
}

async function slurp(options: SlurpOptions): Promise<void> {
  const { data, account, bucket, prefix, overwrite } = options;
  const where: Where = { data, ...(account && { account }) };
  const body = { overwrite, source: { ...sourceOf(options), pathPrefix: prefix ?? null }, target: { bucket } };
  const { id } = await callApi<{ id: string }>({ ...where, method: 'POST', path: JOBS, body });
  // Before anything is said: who reads it may press Ctrl-C at once.
  process.once('SIGINT', () => {
    print(`\nThe job goes on: \`selvedge r2 jobs\` shows it, \`selvedge r2 abort ${id}\` ends it.`);
    process.exit(130);
  });
  print(`Job ${id} copies ${options.from} to ${bucket}.`);
  if (options.detach) return;
  const { status, failedObjects, error } = await followed(where, id);
  if (status !== 'completed') {
    const how = status === 'paused' ? ` Go on with \`selvedge r2 resume ${id}\`.` : '';
    throw new Error(`the job is ${status}${error ? `: ${error}` : ''}.${how}`);
  }
  if (failedObjects === 0) return;
  const failures = (await logsOf(where, id)).filter(({ logType }) => logType === 'importErrorRetryExhaustion');
  for (const { objectKey, message } of failures.slice(0, SHOWN_FAILURES)) print(`${objectKey}: ${message}`);
  throw new Error(`${failedObjects} objects were not copied: see \`selvedge r2 logs ${id}\``);
}

/** The source for the API. Throws one clear sentence. */
function sourceOf({ from, accessKeyId, secretFile, region }: SlurpOptions) {
  const url = URL.canParse(from) ? new URL(from) : null;
  const bucket = url?.pathname.replace(/^\/|\/$/g, '') ?? '';
  if (!url || !/^https?:$/.test(url.protocol) || bucket === '' || bucket.includes('/')) {
    throw new Error(`--from ${from}: the URL of a bucket is expected, such as https://host/bucket`);
  }
  if (!accessKeyId) throw new Error('name the access key of the source by --access-key-id');
  const secretAccessKey = secretFile
    ? readFileSync(secretFile, 'utf8').trim()
    : process.env.AWS_SOURCE_SECRET_ACCESS_KEY;
  if (!secretAccessKey) {
    throw new Error('give the secret of the source in AWS_SOURCE_SECRET_ACCESS_KEY, or in a file by --secret-file');
  }
  const [, ofHost] = /^s3[.-]([a-z0-9-]+)\.amazonaws\.com$/.exec(url.hostname) ?? [];
  return {
    vendor: 's3',
    bucket: decodeURIComponent(bucket),
    endpoint: url.origin,
    region: region ?? ofHost ?? 'auto',
    secret: { accessKeyId, secretAccessKey },
  };
}

/** Shows the progress of a job until it does not run any more. */
async function followed(where: Where, id: string): Promise<Progress> {
  const { isTTY } = process.stdout;
  const startedAt = performance.now();
  let shownAt = startedAt;
  for (;;) {
    const progress = await callApi<Progress>({ ...where, path: `${pathOf(id)}/progress` });
    const isOver = progress.status !== 'running';
    const text = progressText(progress, (performance.now() - startedAt) / 1000);
    if (isTTY) process.stdout.write(`\r\x1b[K${text}${isOver ? '\n' : ''}`);
    else if (isOver || performance.now() - shownAt >= LINE_MS) {
      print(text);
      shownAt = performance.now();
    }
    if (isOver) return progress;
    await sleep(POLL_MS);
  }
}

function progressText(progress: Progress, seconds: number): string {
  const { objects, transferredObjects, skippedObjects, failedObjects, transferredBytes, status } = progress;
  const rate = seconds >= 1 && status === 'running' ? `, ${bytesText(transferredBytes / seconds)}/s` : '';
  const failed = failedObjects > 0 ? `, ${failedObjects} failed` : '';
  return `${status}: ${transferredObjects} copied (${bytesText(transferredBytes)}${rate}), ${skippedObjects} skipped${failed}, of ${objects} listed`;
}

function bytesText(bytes: number): string {
  for (const unit of ['bytes', 'kB', 'MB', 'GB']) {
    if (bytes < 1000) return `${unit === 'bytes' ? Math.round(bytes) : bytes.toPrecision(3)} ${unit}`;
    bytes /= 1000;
  }
  return `${bytes.toPrecision(3)} TB`;
}

async function list({ json, ...where }: Where & { json?: boolean }): Promise<void> {
  const jobs = await callApi<Job[]>({ ...where, path: `${JOBS}?limit=${SHOWN_JOBS}` });
  const all = await Promise.all(
    jobs.map(async (job) => ({
      ...job,
      ...(await callApi<Progress>({ ...where, path: `${pathOf(job.id)}/progress` })),
    })),
  );
  if (json) return print(JSON.stringify(all, null, 2));
  const rows = all.map((job) => [
    job.id,
    job.target.bucket,
    `${job.source.endpoint}/${job.source.bucket}/${job.source.pathPrefix ?? ''}`,
    job.createdAt,
    job.status,
    String(job.transferredObjects),
    String(job.skippedObjects),
    String(job.failedObjects),
    bytesText(job.transferredBytes),
  ]);
  print(table(['JOB', 'BUCKET', 'FROM', 'SINCE', 'STATUS', 'COPIED', 'SKIPPED', 'FAILED', 'BYTES'], rows));
}

function logsOf(where: Where, id: string): Promise<Entry[]> {
  return callApi<Entry[]>({ ...where, path: `${pathOf(id)}/logs?limit=1000` });
}

function pathOf(id: string): string {
  return `${JOBS}/${encodeURIComponent(id)}`;
}
