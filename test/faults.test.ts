/** kill -9 of each kind of process, under load and during deploys: who notices, and that nothing acknowledged is lost. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { Agent, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { type Edge, eventually, startEdge } from './harness.ts';

const directory = await mkdtemp(join(tmpdir(), 'selvedge-faults-'));
const dataDir = join(directory, 'data');
let edge = await startEdge({ dataDir });
after(async () => {
  await edge.close();
  await rm(directory, { recursive: true, force: true });
});

interface Status {
  processes: { name: string; pid: number }[];
  isolates: { script: string; pid: number; versionId: string; state: string }[];
}
const status = async (): Promise<Status> => JSON.parse((await edge.selvedge(['status', '--json'])).stdout);
const source = (text: string) =>
  `export default { async fetch() { await new Promise((r) => setTimeout(r, 5)); return new Response('${text}') } }`;

async function deploy(name: string, text: string) {
  const cwd = await edge.project(
    { name, main: 'index.js', compatibility_date: '2026-11-01' },
    { 'index.js': source(text) },
  );
  return edge.deployed(['deploy'], { cwd });
}

function alive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** Asks all the time with keep-alive connections, until `stop`. Tells how each request ended. */
function load(target: Edge, host: string, clients: number) {
  const agent = new Agent({ keepAlive: true, maxSockets: clients });
  const outcomes = new Map<string, number>();
  let running = true;
  const once = () =>
    new Promise<string>((resolve) => {
      const asked = request({ host: '127.0.0.1', port: target.http, agent, headers: { host } }, (response) => {
        response
          .resume()
          .on('end', () => resolve(String(response.statusCode)))
          .on('error', () => resolve('cut'));
      });
      asked.on('error', () => resolve('connection')).end();
    });
  const loops = Array.from({ length: clients }, async () => {
    while (running) {
      const outcome = await once();
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    }
  });
  return async () => {
    running = false;
    await Promise.all(loops);
    agent.destroy();
    return outcomes;
  };
}

await deploy('steady', 'steady');
const host = edge.host('steady');

describe('kill -9', () => {
  it('of an isolate process fails only the requests that it held', async () => {
    const clients = 8;
    const stop = load(edge, host, clients);
    let kills = 0;
    for (let i = 0; i < 5; i++) {
      await new Promise((resolve) => setTimeout(resolve, 200));
      for (const { script, pid, state } of (await status()).isolates) {
        if (script !== 'steady' || state !== 'running') continue;
        process.kill(pid, 'SIGKILL');
        kills++;
      }
    }
    const outcomes = await stop();
    assert.ok(kills >= 5);
    const failed = [...outcomes].filter(([outcome]) => outcome !== '200').reduce((sum, [, count]) => sum + count, 0);
    assert.ok(failed <= kills * clients, `${failed} requests failed with ${kills} kills`);
    assert.ok((outcomes.get('200') ?? 0) > failed, JSON.stringify([...outcomes]));
    assert.equal(outcomes.get('connection'), undefined);
    assert.equal((await edge.request(host)).text, 'steady');
  });

  it('of an edge process ends only its connections, and another takes its place', async () => {
    const { processes } = await status();
    const [victim] = processes.filter(({ name }) => name.startsWith('edge'));
    process.kill(victim!.pid, 'SIGKILL');
    await eventually(async () => (await edge.request(host).catch(() => null))?.status === 200);
    await eventually(async () =>
      (await status()).processes.some(({ name, pid }) => name === victim!.name && pid > 0 && pid !== victim!.pid),
    );
    for (let i = 0; i < 20; i++) assert.equal((await edge.request(host)).status, 200);
  });

  for (const name of ['core', 'data', 'r2']) {
    it(`of the ${name} process does not stop the edge, and another takes its place`, async () => {
      const victim = (await status()).processes.find((process) => process.name === name)!;
      process.kill(victim.pid, 'SIGKILL');
      for (let i = 0; i < 20; i++) assert.equal((await edge.request(host)).status, 200);
      await eventually(async () => {
        const { code, stdout } = await edge.selvedge(['status', '--json']);
        return (
          code === 0 &&
          (JSON.parse(stdout) as Status).processes.some(
            (process) => process.name === name && process.pid !== victim.pid && process.pid > 0,
          )
        );
      });
    });
  }

  it('of everything during deploys loses no deploy that was acknowledged', async () => {
    const acknowledged = new Map<string, string>();
    let killed = false;
    const deploying = Promise.all(
      ['one', 'two', 'three'].map(async (name) => {
        for (let n = 1; !killed; n++) {
          const form = new FormData();
          form.set('metadata', JSON.stringify({ main_module: 'index.js', compatibility_date: '2026-11-01' }));
          form.set(
            'index.js',
            new File([source(`${name}-${n}`)], 'index.js', { type: 'application/javascript+module' }),
          );
          const path = `/accounts/${edge.accountId}/workers/scripts/${name}`;
          const answer = await edge.api(path, { method: 'PUT', body: form }).catch(() => null);
          if (answer?.status === 200) acknowledged.set(name, `${name}-${n}`);
        }
      }),
    );
    await eventually(
      () => acknowledged.size === 3 && [...acknowledged.values()].every((text) => Number(text.split('-')[1]) > 2),
      60_000,
    );
    const { processes, isolates } = await status();
    killed = true;
    for (const pid of [edge.pid, ...processes.map((process) => process.pid)]) process.kill(pid, 'SIGKILL');
    await deploying;
    await eventually(() => isolates.every(({ pid }) => !alive(pid)));
    await edge.close();

    edge = await startEdge({ dataDir });
    for (const [name, text] of acknowledged) {
      await edge.api(`/accounts/${edge.accountId}/workers/scripts/${name}/subdomain`, {
        method: 'POST',
        body: { enabled: true },
      });
      const answer = await edge.request(edge.host(name));
      assert.equal(answer.status, 200, answer.text);
      // A later deploy may have become durable without its answer reaching the client.
      assert.ok(
        Number(answer.text.split('-')[1]) >= Number(text.split('-')[1]),
        `${answer.text}, acknowledged ${text}`,
      );
    }
    assert.equal((await edge.request(edge.host('steady'))).text, 'steady');
  });
});
