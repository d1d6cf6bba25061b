/** Versions, gradual deployments, rollback and preview hosts, by the real wrangler. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { startEdge } from './harness.ts';

const edge = await startEdge();
after(() => edge.close());
const host = edge.host('gradual');
const source = (n: number) => `export default { fetch(r, env) { return new Response('${n}' + (env.KEY ?? '')) } }`;
const config = { name: 'gradual', main: 'index.js', compatibility_date: '2026-11-01', preview_urls: true };
const project = (n: number) => edge.project(config, { 'index.js': source(n) });

/** Ids of the versions, oldest first. */
async function versionIds(): Promise<string[]> {
  const listed = JSON.parse(await edge.deployed(['versions', 'list', '--name', 'gradual', '--json']));
  return listed.map((version: { id: string }) => version.id);
}

async function share(expected: string, count = 200): Promise<number> {
  let hits = 0;
  for (let i = 0; i < count; i++) if ((await edge.request(host)).text === expected) hits++;
  return hits / count;
}

describe('wrangler versions', () => {
  let cwd: string;
  let first: string;
  let second: string;

  before(async () => {
    await edge.deployed(['deploy'], { cwd: await project(1) });
    cwd = await project(2);
    await edge.deployed(['versions', 'upload', '--tag', 'two', '--message', 'the second', '--preview-alias', 'next'], {
      cwd,
    });
    [first, second] = (await versionIds()) as [string, string];
  });

  it('upload makes a version that gets no traffic', async () => {
    assert.equal((await edge.request(host)).text, '1');
  });

  it('it can be looked at before its release, at its preview hosts', async () => {
    assert.equal((await edge.request(edge.host(`${second.slice(0, 8)}-gradual`))).text, '2');
    assert.equal((await edge.request(edge.host('next-gradual'))).text, '2');
  });

  it('list and view show it', async () => {
    assert.match(await edge.deployed(['versions', 'list', '--name', 'gradual']), new RegExp(second));
    const view = await edge.deployed(['versions', 'view', second, '--name', 'gradual']);
    assert.match(view, /the second/);
    assert.match(view, /two/);
  });

  it('deploy splits the traffic by percentages', async () => {
    await edge.deployed(['versions', 'deploy', `${first}@50`, `${second}@50`, '-y', '--name', 'gradual'], { cwd });
    const half = await share('2');
    // Eight standard deviations on either side.
    assert.ok(half > 0.2 && half < 0.8, `${half}`);
  });

  it('a version key sticks to one version', async () => {
    for (const key of ['anna', 'ben', 'cleo', 'dan']) {
      const texts = new Set<string>();
      for (let i = 0; i < 10; i++)
        texts.add((await edge.request(host, '/', { headers: { 'Cloudflare-Workers-Version-Key': key } })).text);
      assert.equal(texts.size, 1);
    }
  });

  it('an override chooses among the deployed versions', async () => {
    for (const [id, text] of [
      [first, '1'],
      [second, '2'],
    ] as const) {
      const headers = { 'Cloudflare-Workers-Version-Overrides': `gradual="${id}"` };
      for (let i = 0; i < 5; i++) assert.equal((await edge.request(host, '/', { headers })).text, text);
    }
  });

  it('deployments list and status show the split', async () => {
    for (const command of ['list', 'status']) {
      const output = await edge.deployed(['deployments', command, '--name', 'gradual']);
      assert.match(output, new RegExp(`\\(50%\\) ${second}`));
    }
  });

  it('rollback returns to the version before', async () => {
    await edge.deployed(['versions', 'deploy', `${second}@100`, '-y', '--name', 'gradual'], { cwd });
    assert.equal((await edge.request(host)).text, '2');
    await edge.deployed(['rollback', first, '-y', '--name', 'gradual', '--message', 'two was bad'], { cwd });
    assert.equal(await share('1', 20), 1);
    assert.match(await edge.deployed(['deployments', 'list', '--name', 'gradual']), /two was bad/);
  });

  it('secret put makes a version that is not deployed', async () => {
    const count = (await versionIds()).length;
    await edge.deployed(['versions', 'secret', 'put', 'KEY', '--name', 'gradual'], { cwd, input: '!' });
    const ids = await versionIds();
    assert.equal(ids.length, count + 1);
    assert.equal((await edge.request(host)).text, '1');
    assert.equal((await edge.request(edge.host(`${ids.at(-1)!.slice(0, 8)}-gradual`))).text, '2!');
    assert.match(
      await edge.deployed(['versions', 'secret', 'list', '--name', 'gradual', '--latest-version'], { cwd }),
      /KEY/,
    );
  });

  it('percentages that do not add up to 100 are refused', async () => {
    const { status, body } = await edge.api(`/accounts/${edge.accountId}/workers/scripts/gradual/deployments`, {
      method: 'POST',
      body: {
        strategy: 'percentage',
        versions: [
          { version_id: first, percentage: 60 },
          { version_id: second, percentage: 60 },
        ],
      },
    });
    assert.equal(status, 400);
    assert.match(body.errors[0].message, /100/);
  });
});

describe('bindings and secrets are part of a version', () => {
  const name = 'bound';
  const host = edge.host(name);
  const answer = 'export default { fetch(r, env) { return Response.json([env.MODE, env.KEY, env.MORE ?? null]) } }';
  const bound = (vars: Record<string, string>) =>
    edge.project(
      { name, main: 'index.js', compatibility_date: '2026-11-01', preview_urls: true, vars },
      { 'index.js': answer },
    );
  const seen = async (at = host) => (await edge.request(at)).json();
  let first: string;
  let last: string;

  before(async () => {
    await edge.deployed(['deploy'], { cwd: await bound({ MODE: 'one' }) });
    await edge.deployed(['secret', 'put', 'KEY', '--name', name], { input: 'old secret' });
    const cwd = await bound({ MODE: 'two', MORE: 'new binding' });
    await edge.deployed(['versions', 'upload'], { cwd });
    await edge.deployed(['versions', 'secret', 'put', 'KEY', '--name', name], { cwd, input: 'new secret' });
    const listed = JSON.parse(await edge.deployed(['versions', 'list', '--name', name, '--json']));
    const ids = listed.map(({ id }: { id: string }) => id);
    first = ids[1];
    last = ids.at(-1);
  });

  it('a version that is not deployed has its own at its preview host, the live one keeps its own', async () => {
    assert.deepEqual(await seen(edge.host(`${last.slice(0, 8)}-${name}`)), ['two', 'new secret', 'new binding']);
    assert.deepEqual(await seen(), ['one', 'old secret', null]);
  });

  it('in a split each request sees those of one version', async () => {
    await edge.deployed(['versions', 'deploy', `${first}@50`, `${last}@50`, '-y', '--name', name]);
    const texts = new Set<string>();
    for (let i = 0; i < 60; i++) texts.add(JSON.stringify(await seen()));
    assert.deepEqual([...texts].sort(), ['["one","old secret",null]', '["two","new secret","new binding"]']);
  });

  it('a deployment of the old version brings its own back', async () => {
    await edge.deployed(['versions', 'deploy', `${last}@100`, '-y', '--name', name]);
    assert.deepEqual(await seen(), ['two', 'new secret', 'new binding']);
    await edge.deployed(['versions', 'deploy', `${first}@100`, '-y', '--name', name]);
    assert.deepEqual(await seen(), ['one', 'old secret', null]);
  });
});

describe('two deploys at once', () => {
  it('get one order, both are recorded, and the later one is live', async () => {
    const path = `/accounts/${edge.accountId}/workers/scripts/gradual/deployments`;
    const ids = await versionIds();
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, i) =>
        edge.api(path, {
          method: 'POST',
          body: { strategy: 'percentage', versions: [{ version_id: ids[i % 2], percentage: 100 }] },
        }),
      ),
    );
    for (const { status } of answers) assert.equal(status, 200);
    const { deployments } = (await edge.api(path)).body.result;
    // The newest ten are listed, as Cloudflare does it.
    const made = answers.map(({ body }) => body.result.id).sort();
    assert.deepEqual(
      deployments
        .slice(0, 8)
        .map(({ id }: { id: string }) => id)
        .sort(),
      made,
    );
    const live = deployments[0].versions[0].version_id;
    assert.equal((await edge.request(host)).text, live === ids[0] ? '1' : '2');
    const times = deployments.map((deployment: { created_on: string }) => deployment.created_on);
    assert.deepEqual(times, [...times].sort().reverse());
  });
});
