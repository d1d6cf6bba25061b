/** `rollout` of the configuration: the rule of automatic roll-back (`model/compare-versions.ts`). */
import { z } from 'zod';
import { DEFAULT_RULE } from '../model/compare-versions.ts';

export const Rollout = z
  .strictObject({
    auto_rollback: z
      .boolean()
      .default(DEFAULT_RULE.auto_rollback)
      .describe('Whether a new version that is worse than the old one loses its share of the traffic.'),
    alpha: z
      .number()
      .min(1e-9)
      .max(0.1)
      .default(DEFAULT_RULE.alpha)
      .describe('Probability at most with which an equal version is rolled back.'),
    min_requests: z
      .int()
      .min(10)
      .max(1_000_000)
      .default(DEFAULT_RULE.min_requests)
      .describe('Requests of both versions before they are compared.'),
    error_increase: z
      .number()
      .min(0)
      .max(1)
      .default(DEFAULT_RULE.error_increase)
      .describe('Failed requests that the new version may have more, as a share of its requests.'),
    latency_ratio: z
      .number()
      .min(1)
      .max(1000)
      .default(DEFAULT_RULE.latency_ratio)
      .describe("A worse p95 is at least so many times the old version's; it is known to a factor of 1.41."),
    latency_increase_ms: z
      .number()
      .min(0)
      .max(600_000)
      .default(DEFAULT_RULE.latency_increase_ms)
      .describe("... and at least so many ms above the old version's."),
    window_minutes: z
      .number()
      .min(1)
      .max(7 * 24 * 60)
      .default(DEFAULT_RULE.window_minutes)
      .describe('After this time, and 20 times min_requests, counting begins anew.'),
  })
  .prefault({})
  .describe('When a new version that shares the traffic is rolled back.');
