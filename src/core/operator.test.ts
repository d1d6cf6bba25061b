/** Who may read the metrics, and what load balancers hear of a machine that starts, stops or has lost its supervisor. */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import type { PopStatus } from '../model/messages.ts';
import { openBench } from './testing.ts';

const TOKEN = 'a-token-of-metrics';
const bench = await openBench({ metricsToken: TOKEN });
after(() => bench.close());
bench.bus.respond('pop.metrics', () => ({ text: 'selvedge_up 1\n' }));

async function ask(path: string, headers: Record<string, string> = {}) {
  const response = await fetch(bench.origin + path, { headers });
  return { status: response.status, text: await response.text() };
}

describe('/metrics with a token', () => {
  it('are for who has it, also through a proxy', async () => {
    const headers = { authorization: `Bearer ${TOKEN}`, 'x-forwarded-for': '192.0.2.1' };
    const { status, text } = await ask('/metrics', headers);
    assert.equal(status, 200);
    assert.match(text, /^selvedge_up 1\n[\s\S]*selvedge_api_requests_total/);
  });

  it('are for nobody else: not from this machine, not with another token or an account’s', async () => {
    for (const authorization of ['', 'Bearer ', `Bearer ${TOKEN}x`, `Bearer ${bench.tokens.alice}`, TOKEN.slice(1)]) {
      const { status, text } = await ask('/metrics', authorization ? { authorization } : {});
      assert.deepEqual([status, /selvedge_/.test(text)], [401, false], authorization);
    }
  });
});

describe('/ready', () => {
  let status: Pick<PopStatus, 'processes' | 'draining'>;

  it('is 503 without a supervisor', async () => {
    assert.equal((await ask('/ready')).status, 503);
    assert.equal((await ask('/live')).status, 200);
  });

  it('names what it waits for, and what stops', async () => {
    bench.bus.respond('pop.status', () => status);
    const process = { kind: 'edge', pid: 1, restarts: 0 } as unknown as PopStatus['processes'][number];
    status = {
      draining: false,
      processes: [
        { ...process, name: 'edge-0', ready: true },
        { ...process, name: 'edge-1', ready: false },
      ],
    };
    assert.deepEqual(await ask('/ready'), { status: 503, text: 'waiting for edge-1\n' });
    status = { draining: false, processes: [{ ...process, name: 'edge-0', ready: true }] };
    assert.deepEqual(await ask('/ready'), { status: 200, text: 'ready\n' });
    status = { ...status, draining: true };
    assert.deepEqual(await ask('/ready'), { status: 503, text: 'stopping\n' });
  });
});
