/**
 * Adds up what the Workers of this machine use: requests as the edges report them, subrequests as the data process does, CPU time as the
 * watchdog reads it. Reports come each second, so what a killed process had not reported is at most its last second.
 */
import type { Publications } from '../model/messages.ts';
import type { Bus } from '../state/bus.ts';
import type { ProductUsage } from '../state/product-usage.ts';
import type { Usage } from '../state/usage.ts';

/** Begins to add. Returns stop. */
export function startMetering(
  bus: Pick<Bus, 'subscribe'>,
  usage: Pick<Usage, 'add'>,
  products: Pick<ProductUsage, 'add'>,
): () => void {
  const stops = [
    bus.subscribe('local.traffic', ({ versions }: Publications['local.traffic']) => {
      for (const { accountId, script, requests, errors, bytesIn, bytesOut, durationMs } of versions) {
        usage.add(accountId, script, { requests, errors, durationMs, ingressBytes: bytesIn, egressBytes: bytesOut });
      }
    }),
    bus.subscribe('local.egress', ({ scripts }: Publications['local.egress']) => {
      for (const { accountId, script, subrequests, bytesIn, bytesOut } of scripts) {
        usage.add(accountId, script, { subrequests, ingressBytes: bytesIn, egressBytes: bytesOut });
      }
    }),
    bus.subscribe('local.product-usage', ({ usage: used }: Publications['local.product-usage']) => {
      for (const use of used) products.add(use);
    }),
  ];
  return () => {
    for (const stop of stops) stop();
  };
}
