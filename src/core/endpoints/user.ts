/** Who am I: the token, its account, and the memberships that wrangler asks for. A token is its account's only member. */
import { type App, define, Paging, pageOf } from '../app.ts';
import type { CoreContext } from '../context.ts';
import { accountShape } from '../shapes.ts';
import { AUTHOR } from '../store.ts';

export function registerUser(app: App, context: CoreContext): void {
  const get = (path: string, summary: string) => ({ method: 'get', path, summary, query: Paging }) as const;

  define(app, context, get('/user/tokens/verify', 'Is the token valid?'), ({ token }) => ({
    id: token.id,
    status: 'active',
    ...(token.expiresOn && { expires_on: token.expiresOn }),
  }));
  define(app, context, get('/user', 'The user of the token'), ({ token }) => ({ id: token.id, email: AUTHOR }));
  define(app, context, get('/accounts', 'The accounts that the token may use'), ({ account, query }) =>
    pageOf([accountShape(account)], query),
  );
  define(app, context, get('/accounts/{account_id}', 'One account'), ({ account }) => accountShape(account));
  define(app, context, get('/memberships', 'The memberships of the token'), ({ account, token, query }) =>
    pageOf([{ id: token.id, status: 'accepted', roles: ['Administrator'], account: accountShape(account) }], query),
  );
}
