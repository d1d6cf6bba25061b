import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, describe, it } from 'node:test';
import type { Script, Version } from '../model/documents.ts';
import { keys } from '../model/keys.ts';
import { type Bench, HELLO, openBench } from './testing.ts';

const WRANGLER = join(dirname(createRequire(import.meta.url).resolve('wrangler/package.json')), 'bin', 'wrangler.js');

let bench: Bench;
before(async () => {
  bench = await openBench();
  await bench.api('POST', '/zones', { name: 'shop.example' });
});
after(() => bench.close());

/** Runs the real wrangler with nothing of this machine's environment. Returns what it printed; fails if it fails (or, `fails`, if it does not). */
async function wrangler(
  cwd: string,
  args: string[],
  options: { input?: string; fails?: boolean } = {},
): Promise<string> {
  const child = spawn(process.execPath, [WRANGLER, ...args], {
    cwd,
    env: {
      PATH: process.env.PATH,
      HOME: bench.directory,
      CI: '1',
      NO_COLOR: '1',
      WRANGLER_SEND_METRICS: 'false',
      CLOUDFLARE_API_BASE_URL: bench.base,
      CLOUDFLARE_API_TOKEN: bench.tokens.alice,
      CLOUDFLARE_ACCOUNT_ID: bench.alice.id,
    },
  });
  child.stdin.end(options.input ?? '');
  const [out, err, code] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    new Promise<number | null>((resolve) => child.once('close', resolve)),
  ]);
  assert.equal(code !== 0, options.fails ?? false, `wrangler ${args.join(' ')} ended with ${code}:\n${out}\n${err}`);
  return out + err;
}

async function project(name: string, config: Record<string, unknown> = {}, source = HELLO): Promise<string> {
  const cwd = join(bench.directory, 'projects', name);
  await mkdir(cwd, { recursive: true });
  const whole = { name, main: 'index.js', compatibility_date: '2026-11-01', ...config };
  await writeFile(join(cwd, 'wrangler.jsonc'), JSON.stringify(whole));
  await writeFile(join(cwd, 'index.js'), source);
  return cwd;
}

const script = async (name: string) =>
  (await bench.ledger.get<Script>(keys.script(bench.alice.id, name)))?.value ?? assert.fail(`there is no ${name}`);
const version = async (name: string, id: string) =>
  (await bench.ledger.get<Version>(keys.version(bench.alice.id, name, id)))!.value;
const liveVersion = async (name: string) => version(name, (await script(name)).deployment!.versions[0]!.versionId);

describe('the unmodified wrangler', () => {
  it('says who I am', async () => {
    const printed = await wrangler(bench.directory, ['whoami']);
    assert.match(printed, /Alice/);
    assert.match(printed, new RegExp(bench.alice.id));
  });

  it('deploys a new Worker with variables, limits and flags, and deploys it again', async () => {
    const cwd = await project('mod', {
      vars: { GREETING: 'hi', OBJECT: { a: [1] } },
      limits: { cpu_ms: 50 },
      compatibility_flags: ['nodejs_compat_v2'],
      observability: { enabled: true },
      version_metadata: { binding: 'META' },
    });
    const first = await wrangler(cwd, ['deploy']);
    assert.match(first, /mod\.alice\.workers\./);
    const deployed = await liveVersion('mod');
    assert.match(first, new RegExp(`Current Version ID: ${deployed.id}`));
    assert.deepEqual(deployed.handlers, ['fetch']);
    assert.equal(deployed.limits.cpuMs, 50);
    assert.deepEqual(deployed.bindings.map(({ name, type }) => `${name} ${type}`).sort(), [
      'GREETING plain_text',
      'META version_metadata',
      'OBJECT json',
    ]);
    const before = await script('mod');
    assert.deepEqual([before.workersDev, before.previews], [true, true]);
    const again = await wrangler(cwd, ['deploy', '--message', 'again']);
    const next = await liveVersion('mod');
    assert.match(again, new RegExp(`Current Version ID: ${next.id}`));
    assert.deepEqual([next.number, (await script('mod')).deployment!.annotations['workers/message']], [2, 'again']);
    assert.ok(bench.applied.length > 0 && bench.applied.every((sequence) => Number.isInteger(sequence)));
  });

  it('is told why a script does not start', async () => {
    const cwd = await project('broken', {}, 'export default { fetch() {} };\nthrow new Error("at start")');
    assert.match(await wrangler(cwd, ['deploy'], { fails: true }), /at start[\s\S]*10021/);
  });

  it('is told which binding is of a product that is not here', async () => {
    const cwd = await project('ai', { ai: { binding: 'STORE' } });
    assert.match(
      await wrangler(cwd, ['deploy'], { fails: true }),
      /STORE is of type ai, but this Selvedge has no Workers AI yet/,
    );
  });

  it('deploys a service-worker script with Wasm, text and data', async () => {
    const cwd = await project(
      'old',
      { compatibility_date: '2022-01-01', rules: [{ type: 'Text', globs: ['**/*.txt'] }] },
      `import note from './note.txt';
      addEventListener('fetch', (event) => event.respondWith(new Response(note)));`,
    );
    await writeFile(join(cwd, 'note.txt'), 'note');
    await wrangler(cwd, ['deploy']);
    const deployed = await liveVersion('old');
    assert.equal(deployed.format, 'service-worker');
    assert.deepEqual(deployed.handlers, ['fetch']);
    assert.ok(deployed.bindings.some(({ type }) => type === 'text_blob'));
  });

  it('uploads, lists, shows and splits versions, lists deployments and rolls back', async () => {
    const cwd = await project('ver');
    await wrangler(cwd, ['deploy']);
    const first = (await script('ver')).deployment!.versions[0]!.versionId;
    const uploaded = await wrangler(cwd, [
      'versions',
      'upload',
      '--tag',
      'v2',
      '--message',
      'second',
      '--preview-alias',
      'next',
    ]);
    const second = (await script('ver')).latestVersionId!;
    assert.match(uploaded, new RegExp(`Worker Version ID: ${second}`));
    assert.match(uploaded, /next-ver\.alice\.workers\.localhost/);
    assert.equal((await script('ver')).aliases.next, second);
    assert.notEqual((await script('ver')).deployment!.versions[0]!.versionId, second);
    const listed = await wrangler(cwd, ['versions', 'list']);
    assert.ok(listed.includes(first) && listed.includes(second) && listed.includes('second'));
    assert.match(await wrangler(cwd, ['versions', 'view', second]), /v2/);
    await wrangler(cwd, ['versions', 'deploy', `${first}@60`, `${second}@40`, '-y']);
    assert.deepEqual(
      new Map((await script('ver')).deployment!.versions.map((each) => [each.versionId, each.percentage])),
      new Map([
        [first, 60],
        [second, 40],
      ]),
    );
    assert.match(await wrangler(cwd, ['deployments', 'status']), /60%/);
    await wrangler(cwd, ['versions', 'deploy', `${second}@100`, '-y']);
    assert.ok((await wrangler(cwd, ['deployments', 'list'])).includes(first));
    await wrangler(cwd, ['rollback', '-y', '--message', 'back']);
    assert.deepEqual((await script('ver')).deployment!.versions, [{ versionId: first, percentage: 100 }]);
  });

  it('puts, lists and deletes secrets, which no answer and no document shows', async () => {
    const cwd = await project('sec', { vars: { PLAIN: 'p' } });
    await wrangler(cwd, ['secret', 'put', 'EARLY'], { input: 'early-value' });
    await wrangler(cwd, ['deploy']);
    await wrangler(cwd, ['secret', 'put', 'API_KEY'], { input: 'hush-hush' });
    await wrangler(cwd, ['secret', 'bulk'], { input: JSON.stringify({ ONE: 'first-secret', TWO: 'second-secret' }) });
    await wrangler(cwd, ['deploy']);
    const listed = await wrangler(cwd, ['secret', 'list']);
    for (const name of ['EARLY', 'API_KEY', 'ONE', 'TWO']) assert.ok(listed.includes(name), name);
    const sealed = (await liveVersion('sec')).bindings.find(({ name }) => name === 'API_KEY')!;
    assert.ok(sealed.type === 'secret_text' && bench.unseal(sealed.sealed) === 'hush-hush');
    await wrangler(cwd, ['secret', 'delete', 'ONE']);
    await wrangler(cwd, ['versions', 'secret', 'put', 'LATER'], { input: 'not-yet' });
    assert.ok(!(await liveVersion('sec')).bindings.some(({ name }) => name === 'LATER'), 'it is not deployed');
    assert.match(
      await wrangler(cwd, ['secret', 'put', 'NOW'], { input: 'x', fails: true }),
      /isn't currently deployed/,
    );
    const prefix = `/accounts/${bench.alice.id}/workers/scripts/sec`;
    const shown = await Promise.all(
      ['/settings', '/secrets', '/versions', '/deployments', `/versions/${(await script('sec')).latestVersionId}`].map(
        (path) => bench.api('GET', prefix + path),
      ),
    );
    const all = JSON.stringify([shown, await bench.ledger.list('')]);
    for (const value of ['early-value', 'hush-hush', 'first-secret', 'second-secret', 'not-yet'])
      assert.ok(!all.includes(value));
    assert.ok(!JSON.stringify(shown).includes('sealed'));
  });

  it('sets routes, custom domains and cron triggers, and takes them away', async () => {
    const cwd = await project(
      'trig',
      {
        routes: ['www.shop.example/*', { pattern: 'api.shop.example', custom_domain: true }],
        triggers: { crons: ['*/5 * * * *', '0 9 * * MON'] },
      },
      'export default { fetch() { return new Response("x") }, scheduled() {} }',
    );
    const printed = await wrangler(cwd, ['deploy']);
    assert.match(printed, /www\.shop\.example/);
    assert.equal((await script('trig')).workersDev, false);
    assert.deepEqual(
      (await script('trig')).schedules.map(({ cron }) => cron),
      ['*/5 * * * *', '0 9 * * MON'],
    );
    const routes = async () =>
      (await bench.ledger.list<{ pattern: string; script: string }>(keys.routes())).map(({ value }) => value.pattern);
    assert.deepEqual(await routes(), ['www.shop.example/*']);
    assert.equal((await bench.ledger.list(keys.domains)).length, 1);
    await project(
      'trig',
      { routes: ['shop.example/a*'], triggers: { crons: [] } },
      'export default { fetch() { return new Response("x") } }',
    );
    await wrangler(cwd, ['triggers', 'deploy']);
    assert.deepEqual(await routes(), ['shop.example/a*']);
    assert.deepEqual((await script('trig')).schedules, []);
  });

  it('deletes a Worker with all that belongs to it', async () => {
    const cwd = await project('trig');
    assert.match(await wrangler(cwd, ['delete']), /Successfully deleted trig/);
    assert.equal(await bench.ledger.get(keys.script(bench.alice.id, 'trig')), null);
    assert.deepEqual(await bench.ledger.list(keys.versions(bench.alice.id, 'trig')), []);
    assert.deepEqual(await bench.ledger.list(keys.routes()), []);
    assert.deepEqual(await bench.ledger.list(keys.domains), []);
  });
});
