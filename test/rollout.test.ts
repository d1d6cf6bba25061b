/** Safe deployment by the real wrangler: a worse version loses its share by itself, an equal one stays, and rollouts go by steps. */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { eventually, startEdge } from './harness.ts';

const edge = await startEdge();
after(() => edge.close());

const GOOD = 'export default { fetch() { return new Response("good") } }';
const FAILS = `export default { fetch() {
  if (Math.random() < 0.3) throw new Error('bad day');
  return new Response("new");
} }`;
const SLOW = `export default { async fetch() {
  await scheduler.wait(200);
  return new Response("new");
} }`;
const EQUAL = 'export default { fetch() { return new Response("new") } }';

/** Deploys `GOOD` and uploads a second version; both with wrangler. */
async function twoVersions(name: string, second: string) {
  const config = { name, main: 'index.js', compatibility_date: '2026-11-01', preview_urls: true };
  await edge.deployed(['deploy'], { cwd: await edge.project(config, { 'index.js': GOOD }) });
  const cwd = await edge.project(config, { 'index.js': second });
  await edge.deployed(['versions', 'upload'], { cwd });
  const listed = JSON.parse(await edge.deployed(['versions', 'list', '--name', name, '--json']));
  const [old, fresh] = listed.map(({ id }: { id: string }) => id) as [string, string];
  const path = `/accounts/${edge.accountId}/workers/scripts/${name}`;
  return {
    name,
    old,
    fresh,
    path,
    split: (oldShare: number) =>
      edge.deployed(['versions', 'deploy', `${old}@${oldShare}`, `${fresh}@${100 - oldShare}`, '-y', '--name', name], {
        cwd,
      }),
    /** Version id -> percentage, of the active deployment. */
    async shares(): Promise<Record<string, number>> {
      const { body } = await edge.api(`${path}/deployments`);
      const [{ versions }] = body.result.deployments;
      return Object.fromEntries(versions.map((v: any) => [v.version_id, v.percentage]));
    },
    deployments: () => edge.deployed(['deployments', 'list', '--name', name]),
  };
}

/** Requests, some at a time, until `done` or for `count` of them; returns what was answered. */
async function traffic(host: string, count: number, done = () => false): Promise<Map<string, number>> {
  const answers = new Map<string, number>();
  let left = count;
  await Promise.all(
    Array.from({ length: 16 }, async () => {
      while (left-- > 0 && !done()) {
        const { status, text } = await edge.request(host);
        const answer = status === 200 ? text : String(status);
        answers.set(answer, (answers.get(answer) ?? 0) + 1);
      }
    }),
  );
  return answers;
}

/** Traffic until the old version has all of it again. */
async function untilReturned(worker: Awaited<ReturnType<typeof twoVersions>>): Promise<void> {
  let returned = false;
  const sending = traffic(edge.host(worker.name), 1e6, () => returned);
  try {
    await eventually(async () => (await worker.shares())[worker.old] === 100, 60_000);
  } finally {
    returned = true;
    await sending;
  }
}

describe('a new version with a share of the traffic', () => {
  it('that fails on 30% of its requests loses it, and wrangler shows why', async () => {
    const worker = await twoVersions('failing', FAILS);
    await worker.split(90);
    await untilReturned(worker);
    // Nothing fails any more.
    assert.deepEqual([...(await traffic(edge.host('failing'), 200)).keys()], ['good']);
    const listed = await worker.deployments();
    assert.match(
      listed,
      new RegExp(
        `Source: +Rollback\\n.*Message: +Automatic rollback of version ${worker.fresh.slice(0, 8)}: [\\d.]+% of \\d+ requests failed, on ${worker.old.slice(0, 8)} 0\\.0% of \\d+ requests`,
      ),
    );
    assert.match(listed, new RegExp(`\\(100%\\) ${worker.old}`));
  });

  it('that is slow loses it, and wrangler shows why', async () => {
    const worker = await twoVersions('slow', SLOW);
    await worker.split(90);
    await untilReturned(worker);
    assert.deepEqual([...(await traffic(edge.host('slow'), 200)).keys()], ['good']);
    assert.match(
      await worker.deployments(),
      new RegExp(`Message: +Automatic rollback of version ${worker.fresh.slice(0, 8)}: its p95 is \\d+ ms, that of`),
    );
  });

  it('that is as good as the old one keeps it', async () => {
    const worker = await twoVersions('equal', EQUAL);
    await worker.split(50);
    const answers = await traffic(edge.host('equal'), 3000);
    assert.deepEqual([...answers.keys()].sort(), ['good', 'new']);
    // Two looks more, in any case.
    await new Promise((resolve) => setTimeout(resolve, 2500));
    assert.deepEqual(await worker.shares(), { [worker.old]: 50, [worker.fresh]: 50 });
  });

  it('is not judged by requests that chose it: at its preview host, or by the override header', async () => {
    const worker = await twoVersions('preview', 'export default { fetch() { throw new Error("bad day") } }');
    // The smallest share: what comes by itself is too little to judge.
    await worker.split(99.99);
    const preview = edge.host(`${worker.fresh.slice(0, 8)}-preview`);
    const headers = { 'Cloudflare-Workers-Version-Overrides': `preview="${worker.fresh}"` };
    for (let i = 0; i < 100; i++) {
      assert.equal((await edge.request(preview)).status, 500);
      assert.equal((await edge.request(edge.host('preview'), '/', { headers })).status, 500);
      await edge.request(edge.host('preview'));
    }
    await new Promise((resolve) => setTimeout(resolve, 2500));
    assert.deepEqual(await worker.shares(), { [worker.old]: 99.99, [worker.fresh]: 0.01 });
  });
});

describe('selvedge rollout', () => {
  it('goes through its steps to all traffic', async () => {
    const worker = await twoVersions('stepping', EQUAL);
    const args = ['rollout', 'stepping', '--version', worker.fresh, '--steps', '10,50,100', '--every', '2s'];
    const started = await edge.selvedge(args);
    assert.equal(started.code, 0, started.stderr);
    assert.match(started.stdout, new RegExp(`^Version ${worker.fresh}: running, step 1 of 3, 10%\n50% at `));
    await eventually(async () => (await worker.shares())[worker.fresh] === 100);
    const { stdout } = await edge.selvedge(['rollout', 'status', 'stepping']);
    assert.match(stdout, /: finished, step 3 of 3, 100%/);
    assert.deepEqual([...(await traffic(edge.host('stepping'), 50)).keys()], ['new']);
    const listed = await worker.deployments();
    for (const step of ['1 of 3: 10%', '2 of 3: 50%', '3 of 3: 100%']) {
      assert.match(listed, new RegExp(`Source: +Promotion\\n.*Message: +Rollout, step ${step}`));
    }
  });

  it('is rolled back when the version is worse', async () => {
    const worker = await twoVersions('bad', FAILS);
    await edge.selvedge(['rollout', 'bad', '--version', worker.fresh, '--steps', '20,100', '--every', '1h']);
    await untilReturned(worker);
    const shown = await eventually(async () => {
      const { stdout } = await edge.selvedge(['rollout', 'status', 'bad']);
      return /: rolled-back, step 1 of 2, 20%\nAutomatic rollback of version/.test(stdout) && stdout;
    });
    assert.ok(shown);
  });

  it("stops by request, and at a user's own deployment", async () => {
    const worker = await twoVersions('stopping', EQUAL);
    const start = () =>
      edge.selvedge(['rollout', 'start', 'stopping', '--version', worker.fresh, '--steps', '10,20', '--every', '1h']);
    await start();
    assert.match(
      (await edge.selvedge(['rollout', 'stop', 'stopping'])).stdout,
      /: stopped, step 1 of 2, 10%\nStopped by/,
    );
    assert.deepEqual(await worker.shares(), { [worker.old]: 90, [worker.fresh]: 10 });
    await worker.split(100);
    assert.equal((await start()).code, 0);
    await worker.split(40);
    await eventually(async () =>
      /Another deployment/.test((await edge.selvedge(['rollout', 'status', 'stopping'])).stdout),
    );
    assert.deepEqual(await worker.shares(), { [worker.old]: 40, [worker.fresh]: 60 });
  });

  it('goes on after the core was killed', async () => {
    const worker = await twoVersions('killed', EQUAL);
    await edge.selvedge(['rollout', 'killed', '--version', worker.fresh, '--steps', '10,100', '--every', '3s']);
    const { processes } = JSON.parse((await edge.selvedge(['status', '--json'])).stdout);
    process.kill(processes.find(({ name }: { name: string }) => name === 'core').pid, 'SIGKILL');
    await eventually(async () => {
      const { stdout } = await edge.selvedge(['rollout', 'status', 'killed']);
      return /: finished, step 2 of 2/.test(stdout);
    }, 30_000);
    assert.deepEqual(await worker.shares(), { [worker.fresh]: 100 });
  });

  it('says what is wrong', async () => {
    const { code, stderr } = await edge.selvedge(['rollout', 'nowhere', '--version', crypto.randomUUID()]);
    assert.equal(code, 1);
    assert.match(stderr, /This Worker does not exist/);
    assert.match((await edge.selvedge(['rollout', 'status', 'equal'])).stderr, /equal has no rollout/);
  });

  it('serves another account by a token that ends with the command', async () => {
    const made = await edge.selvedge(['account', 'create', '--name', 'Other', '--subdomain', 'other']);
    const account = /Account ([0-9a-f]{32})/.exec(made.stdout)![1]!;
    const { stderr } = await edge.selvedge(['rollout', 'status', 'equal', '--account', account]);
    // Its own Workers only: "equal" is another account's.
    assert.match(stderr, /This Worker does not exist/);
    const { stdout } = await edge.selvedge(['token', 'list', '--account', account, '--json']);
    const tokens = JSON.parse(stdout) as { revokedOn: string | null }[];
    assert.ok(tokens.length === 1 && tokens[0]!.revokedOn !== null);
  });
});
