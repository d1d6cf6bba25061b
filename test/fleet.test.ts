/** Which processes run: eviction and waking, waking by a TLS server name, more of them under load, and none that outlives its supervisor. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { after, describe, it } from 'node:test';
import { connect } from 'node:tls';
import { type Edge, eventually, startEdge } from './harness.ts';

async function processes(edge: Edge, script: string): Promise<{ pid: number; state: string }[]> {
  const response = await fetch(`${edge.apiUrl.replace('/client/v4', '')}/selvedge/status`, {
    headers: { authorization: `Bearer ${edge.token}` },
  });
  const { result } = (await response.json()) as {
    result: { isolates: { script: string; pid: number; state: string }[] };
  };
  return result.isolates.filter((isolate) => isolate.script === script);
}

describe('with hardly any memory for Workers', async () => {
  // Every Worker goes as soon as it holds no request.
  const edge = await startEdge({ args: ['--isolate-memory', '1'] });
  after(() => edge.close());
  const gone = () => eventually(async () => (await processes(edge, 'welcome')).length === 0);

  it('a Worker that nobody uses is evicted, and the next request starts it', async () => {
    for (let i = 0; i < 3; i++) {
      await gone();
      assert.equal((await edge.request(edge.host('welcome'))).status, 200);
    }
  });

  it('many requests at once wait for one start', async () => {
    await gone();
    const answers = await Promise.all(Array.from({ length: 20 }, () => edge.request(edge.host('welcome'))));
    for (const { status } of answers) assert.equal(status, 200);
  });

  it('the server name of a TLS handshake wakes it, before there is a request', async () => {
    await gone();
    const socket = connect({
      host: '127.0.0.1',
      port: edge.https,
      servername: edge.host('welcome'),
      rejectUnauthorized: false,
    });
    try {
      await eventually(async () => (await processes(edge, 'welcome')).length > 0, 5_000);
    } finally {
      socket.destroy();
    }
  });

  it('one that holds a request stays', async () => {
    const cwd = await edge.project(
      { name: 'slow', main: 'index.js', compatibility_date: '2026-11-01' },
      {
        'index.js':
          'export default { async fetch() { await new Promise((r) => setTimeout(r, 2000)); return new Response("done") } }',
      },
    );
    await edge.deployed(['deploy'], { cwd });
    assert.equal((await edge.request(edge.host('slow'))).text, 'done');
  });
});

it('a Worker whose process is busy gets another one', { skip: availableParallelism() < 2 && 'one core' }, async () => {
  const edge = await startEdge();
  try {
    const source =
      'export default { fetch() { let x = 0; for (let i = 0; i < 2e7; i++) x += i; return new Response(String(x)) } }';
    const cwd = await edge.project(
      { name: 'heavy', main: 'index.js', compatibility_date: '2026-11-01' },
      { 'index.js': source },
    );
    await edge.deployed(['deploy'], { cwd });
    assert.equal((await processes(edge, 'heavy')).length, 1);
    let running = true;
    const load = Array.from({ length: 8 }, async () => {
      while (running) assert.equal((await edge.request(edge.host('heavy'))).status, 200);
    });
    await eventually(async () => (await processes(edge, 'heavy')).length >= 2, 20_000);
    running = false;
    await Promise.all(load);
  } finally {
    await edge.close();
  }
});

for (const sandbox of ['namespaces', 'plain']) {
  it(`the sandbox level ${sandbox} runs Workers without privileges, and they die with a supervisor that is killed`, async (t) => {
    const edge = await startEdge({ args: ['--sandbox', sandbox] }).catch((error: Error) => error);
    // A machine may lack user namespaces; then the level is not there to be tested.
    if (edge instanceof Error) {
      // Any other reason not to start is a failure.
      if (!/no sandbox works here/.test(edge.message)) throw edge;
      return t.skip(`this machine has no sandbox level ${sandbox}`);
    }
    try {
      assert.match(edge.output(), new RegExp(`Sandbox +${sandbox}`));
      assert.equal((await edge.request(edge.host('welcome'))).status, 200);
      const [isolate] = await processes(edge, 'welcome');
      const facts = readFileSync(`/proc/${isolate!.pid}/status`, 'utf8');
      assert.match(facts, /^CapEff:\t0+$/m);
      assert.match(facts, /^NoNewPrivs:\t1$/m);
      process.kill(edge.pid, 'SIGKILL');
      await eventually(() => {
        try {
          process.kill(isolate!.pid, 0);
          return false;
        } catch {
          return true;
        }
      });
    } finally {
      await edge.close();
    }
  });
}
