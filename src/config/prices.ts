/** `prices` of the configuration: the price sheet that makes bills of usage (`model/prices.ts`). */
import { z } from 'zod';
import { minorUnitDigits, type PriceSheet, parseDecimal } from '../model/prices.ts';

/** A check whose Error becomes the message of the configuration's error. */
const checked =
  <T>(check: (value: T) => unknown) =>
  (value: T, context: z.RefinementCtx) => {
    try {
      check(value);
    } catch (error) {
      context.addIssue({ code: 'custom', message: error instanceof Error ? error.message : String(error) });
    }
  };

const Price = z.union([z.number(), z.string().max(40)]).superRefine(checked(parseDecimal));
const price = (text: string) => Price.optional().describe(text);
const free = (text: string) => Price.optional().describe(`${text} without a price, per account and month.`);

export const Prices = z
  .strictObject({
    currency: z.string().max(40).superRefine(checked(minorUnitDigits)).describe('Code of ISO 4217, such as EUR.'),
    base_monthly: price('Per account and month, used or not.'),
    per_million_requests: price('A million requests.'),
    per_million_cpu_ms: price('A million milliseconds of CPU time.'),
    per_million_subrequests: price('A million requests that Workers made.'),
    per_gb_egress: price('10^9 bytes to eyeballs or sent by Workers.'),
    per_gb_second: price('A second of a request counts 0.128 GB-s.'),
    included: z
      .strictObject({
        requests: free('Requests'),
        cpu_ms: free('Milliseconds of CPU time'),
        subrequests: free('Requests that Workers make'),
        egress_gb: free('GB'),
        gb_seconds: free('GB-s'),
      })
      .optional()
      .describe('What is free.'),
  })
  .describe(
    'Price sheet: numbers or decimals as text. What has no price costs nothing; without a sheet there are no bills.',
  );

/** A price sheet from JSON. Throws one sentence that names what is wrong. */
export function readPrices(text: string): PriceSheet {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(`the price sheet is no JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  const parsed = Prices.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new Error(`the price sheet is not valid: ${issue?.path.join('.') || 'the whole'}: ${issue?.message}`);
}
