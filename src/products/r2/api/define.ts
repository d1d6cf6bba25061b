/** Endpoints of R2 in the v4 API: R2's own errors in the same envelope. */
import type { z } from '@hono/zod-openapi';
import { type App, type Call, define, type Endpoint } from '../../../core/app.ts';
import type { CoreContext } from '../../../core/context.ts';
import type { Account } from '../../../model/documents.ts';
import { BodyCorrupted } from '../bodies.ts';
import type { Bucket } from '../documents.ts';
import { R2Error } from '../limits.ts';
import { r2ErrorOf } from '../service.ts';

export const BUCKETS = '/accounts/{account_id}/r2/buckets';
export const BUCKET = `${BUCKETS}/{bucket_name}`;

/** As `define`; what throws R2Error is answered with its code and status. */
export function defineR2<B extends z.ZodType = z.ZodUndefined, Q extends z.ZodObject = z.ZodObject>(
  app: App,
  context: CoreContext,
  endpoint: Endpoint<B, Q>,
  handler: (call: Call<z.output<B>, z.output<Q>>) => unknown,
): void {
  define(app, context, endpoint, async (call) => {
    try {
      return await handler(call);
    } catch (error) {
      if (!(error instanceof R2Error || error instanceof BodyCorrupted)) throw error;
      const { code, message, status } = r2ErrorOf(error);
      return call.c.json({ success: false, errors: [{ code, message }], messages: [], result: null }, status as 400);
    }
  });
}

/** Another account's bucket is answered as one that is not there. Throws R2Error NoSuchBucket. */
export function requireBucket({ r2 }: CoreContext, account: Account, params: Record<string, string>): Promise<Bucket> {
  return r2.buckets.get(account.id, params.bucket_name!);
}
