import { Agent } from 'node:http';
import { startEdge } from '../../test/harness.ts';
import { ask, put, type Row } from '../lib.ts';

export const row: Row = {
  what: 'failed requests in 20 deploys and rollbacks under load',
  against: '-',
  goal: '0',
  async run() {
    const edge = await startEdge();
    const agent = new Agent({ keepAlive: true, maxSockets: 32 });
    const deployments = `/accounts/${edge.accountId}/workers/scripts/busy/deployments`;
    try {
      await put(edge, 'busy', 'export default { fetch() { return new Response("0") } }');
      let running = true;
      let requests = 0;
      let failed = 0;
      const loops = Array.from({ length: 32 }, async () => {
        while (running) {
          const status = await ask(edge.http, edge.host('busy'), agent).then(
            ({ status }) => status,
            () => 0,
          );
          requests++;
          if (status !== 200) failed++;
        }
      });
      for (let n = 1; n <= 10; n++) {
        await put(edge, 'busy', `export default { fetch() { return new Response("${n}") } }`);
        const previous = (await edge.api(deployments)).body.result.deployments[1].versions[0].version_id;
        await edge.api(deployments, {
          method: 'POST',
          body: { strategy: 'percentage', versions: [{ version_id: previous, percentage: 100 }] },
        });
      }
      running = false;
      await Promise.all(loops);
      return { measured: String(failed), detail: `${requests} requests on 32 connections`, met: failed === 0 };
    } finally {
      agent.destroy();
      await edge.close();
    }
  },
};
