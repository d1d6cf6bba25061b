/** For tests of this folder: Workers with several versions, and the traffic that a PoP would report of them. */
import { bucketOf, emptyHistogram } from '../../model/histogram.ts';
import type { Publications } from '../../model/messages.ts';
import { type Answer, type Bench, upload } from '../testing.ts';

/** What a version answered in one second. */
export interface Second {
  requests: number;
  errors?: number;
  ms?: number;
}

export async function openWorker(bench: Bench, name: string) {
  const path = `/accounts/${bench.alice.id}/workers/scripts/${name}`;
  const first: string = (await bench.api('PUT', path, upload())).result.deployment_id;

  const worker = {
    first,
    path,
    /** Uploads a version that is not deployed; returns its id. */
    async version(): Promise<string> {
      return (await bench.api('POST', `${path}/versions`, upload())).result.id;
    },
    deploy: (shares: Record<string, number>, annotations: Record<string, string> = {}): Promise<Answer> =>
      bench.api('POST', `${path}/deployments`, {
        strategy: 'percentage',
        versions: Object.entries(shares).map(([version_id, percentage]) => ({ version_id, percentage })),
        annotations,
      }),
    /** The newest deployment first. */
    async deployments(): Promise<any[]> {
      return (await bench.api('GET', `${path}/deployments`)).result.deployments;
    },
    /** Version id -> its share now. */
    async shares(): Promise<Record<string, number>> {
      const [active] = await worker.deployments();
      return Object.fromEntries(active.versions.map((v: any) => [v.version_id, v.percentage]));
    },
    /** One report of a PoP. */
    report(traffic: Record<string, Second>): void {
      const versions = Object.entries(traffic).map(([versionId, { requests, errors = 0, ms = 5 }]) => {
        const latency = emptyHistogram();
        latency[bucketOf(ms)] = requests;
        return {
          versionId,
          accountId: bench.alice.id,
          script: name,
          requests,
          errors,
          bytesIn: 0,
          bytesOut: 0,
          durationMs: ms * requests,
          latency,
        };
      });
      bench.bus.publish('pop.traffic', { pop: 'dev', versions } satisfies Publications['pop.traffic']);
    },
    /** Reports the same again and again until `check` is true. Throws after 20 seconds. */
    async reportUntil(traffic: Record<string, Second>, check: () => Promise<boolean>): Promise<void> {
      await until(async () => {
        worker.report(traffic);
        return check();
      });
    },
  };
  return worker;
}

/** Asks again until it is true. Throws after 20 seconds. */
export async function until(check: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!(await check())) {
    if (Date.now() > deadline) throw new Error(`not true within 20 seconds: ${check}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
