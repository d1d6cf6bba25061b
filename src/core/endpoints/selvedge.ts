/** What Cloudflare's API has no path for: the state of this machine, with the token's account's processes only. */
import type { PopStatus } from '../../model/messages.ts';
import { NoResponder, RequestTimeout } from '../../state/bus.ts';
import { type App, define } from '../app.ts';
import type { CoreContext } from '../context.ts';
import { ApiError } from '../errors.ts';
import { isOperator } from '../operator.ts';

export function registerSelvedge(app: App, context: CoreContext): void {
  define(
    app,
    context,
    {
      method: 'get',
      path: '/selvedge/status',
      summary: "State of this machine and of the account's isolate processes",
    },
    async ({ account, c }) => {
      let status: PopStatus;
      try {
        status = (await context.bus.request('pop.status', {})) as PopStatus;
      } catch (error) {
        if (!(error instanceof NoResponder) && !(error instanceof RequestTimeout)) throw error;
        throw new ApiError(10004, 'The supervisor does not answer: try again.');
      }
      const { traffic, ...rest } = status;
      return {
        ...rest,
        missed: status.missed.filter(({ accountId }) => accountId === account.id),
        isolates: status.isolates.filter(({ accountId }) => accountId === account.id),
        // Of all accounts together.
        ...(isOperator(c, undefined) && { traffic }),
      };
    },
  );
}
