/**
 * The Hono app of the control API and the one way to add an endpoint: `define`. It registers the route and its description for
 * /openapi.json together, so that the document lists what is really served; it authenticates, checks the account in the path,
 * validates query and body, and wraps what the handler returns in Cloudflare's v4 envelope.
 */
import { OpenAPIHono, z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import type { Account, Token } from '../model/documents.ts';
import { LIMITS } from '../model/limits.ts';
import { log, reason } from '../model/log.ts';
import { authenticate } from './auth.ts';
import { readJson } from './body.ts';
import type { CoreContext } from './context.ts';
import { ApiError, ERRORS } from './errors.ts';

export const API_PREFIX = '/client/v4';

interface Env {
  Variables: { account: Account; token: Token };
}
export type App = OpenAPIHono<Env>;
export type ApiContext = Context<Env>;

export interface ResultInfo {
  page?: number;
  per_page?: number;
  count?: number;
  total_count?: number;
  total_pages?: number;
  cursor?: string;
  is_truncated?: boolean;
  delimited?: string[];
}

/** A result with paging, status or messages other than the defaults; made by `reply`. */
class Reply {
  readonly result: unknown;
  readonly status: number;
  readonly info: ResultInfo | undefined;
  constructor(result: unknown, status: number, info: ResultInfo | undefined) {
    this.result = result;
    this.status = status;
    this.info = info;
  }

  /** The same with another result. */
  with(result: unknown): Reply {
    return new Reply(result, this.status, this.info);
  }
}

/** For handlers that answer with another status than 200, or with a `result_info`. */
export function reply(result: unknown, options: { status?: number; info?: ResultInfo } = {}): Reply {
  return new Reply(result, options.status ?? 200, options.info);
}

export interface Endpoint<B extends z.ZodType, Q extends z.ZodObject> {
  method: 'get' | 'post' | 'put' | 'patch' | 'delete';
  /**
   * OpenAPI form: `/accounts/{account_id}/workers/scripts`; a last `{name*}` takes slashes, too. Relative to API_PREFIX, except below /selvedge.
   */
  path: string;
  summary: string;
  /** 'token' (default): bearer token of the account in the path. 'none': the handler checks by itself. */
  auth?: 'token' | 'none';
  query?: Q;
  /** JSON body, read whatever its content type says, at most LIMITS.apiBodyBytes. */
  body?: B;
  /** For bodies that the handler reads from the request itself: their content type, for the document. */
  rawBody?: string;
}

export interface Call<B, Q> {
  c: ApiContext;
  /** Of the token; absent (throws on use) with `auth: 'none'`. */
  account: Account;
  token: Token;
  params: Record<string, string>;
  body: B;
  query: Q;
}

/**
 * Adds an endpoint. The handler's value becomes `result` of the envelope; `reply()` sets status or paging; a Response goes out as
 * it is. Thrown ApiErrors become error envelopes.
 */
export function define<B extends z.ZodType = z.ZodUndefined, Q extends z.ZodObject = z.ZodObject>(
  app: App,
  context: CoreContext,
  endpoint: Endpoint<B, Q>,
  handler: (call: Call<z.output<B>, z.output<Q>>) => unknown,
): void {
  const path = endpoint.path.startsWith('/selvedge') ? endpoint.path : API_PREFIX + endpoint.path;
  describe(app, path.replace('*}', '}'), endpoint);
  const route = path.replace(/\{(\w+)\}/g, ':$1').replace(/\{(\w+)\*\}$/, ':$1{.+}');
  app.on(endpoint.method.toUpperCase(), route, async (c) => {
    if (endpoint.auth !== 'none') {
      const { account, token } = await authenticate(context.ledger, c.req.raw.headers, c.req.path);
      c.set('account', account);
      c.set('token', token);
      const asked = c.req.param('account_id');
      if (asked !== undefined && asked !== account.id) {
        throw new ApiError(9109, 'Unauthorized to access requested resource');
      }
    }
    const query = endpoint.query ? valid(endpoint.query, c.req.query(), 'query') : {};
    const body = endpoint.body
      ? valid(endpoint.body, await readJson(c.req.raw, LIMITS.apiBodyBytes), 'body')
      : undefined;
    const result = await handler({
      c,
      account: c.get('account'),
      token: c.get('token'),
      params: c.req.param() as Record<string, string>,
      body: body as z.output<B>,
      query: query as z.output<Q>,
    });
    return respond(c, result);
  });
}

/** The account of the request's token. */
export function currentAccount(c: ApiContext): Account {
  return c.get('account');
}

/** The v4 envelope of a success. */
export function ok(c: ApiContext, result: unknown, info?: ResultInfo): Response {
  return respond(c, reply(result, info ? { info } : {}));
}

/** Validates with zod; throws ApiError 10001 that names the first wrong field. */
export function valid<T extends z.ZodType>(schema: T, value: unknown, where: string): z.output<T> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new ApiError(10001, describeIssue(parsed.error, where));
}

/** "body.versions[0].percentage: expected number" */
export function describeIssue(error: z.ZodError, where: string): string {
  const issue = error.issues[0];
  const path = issue?.path.map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`)).join('') ?? '';
  return `${where}${path}: ${issue?.message ?? 'not valid'}`;
}

/** Query of lists that are cut into pages. */
export const Paging = z.object({
  page: z.coerce.number().int().min(1).default(1),
  per_page: z.coerce.number().int().min(1).max(1000).default(20),
});

/** Query of lists that Cloudflare gives whole: one page holds all, and a second one is empty. */
export const WholeList = Paging.extend({ per_page: z.coerce.number().int().min(1).max(1000).default(1000) });

/** One page of a list with its `result_info`: clients ask for pages until one is empty. */
export function pageOf(items: readonly unknown[], { page, per_page }: z.output<typeof Paging>): Reply {
  const result = items.slice((page - 1) * per_page, page * per_page);
  const total_pages = Math.ceil(items.length / per_page);
  return reply(result, { info: { page, per_page, count: result.length, total_count: items.length, total_pages } });
}

/** An app with the error envelope, the 404 and /openapi.json, and no endpoint yet. */
export function createApp(): App {
  // wrangler appends paths to its base URL: one that ends in a slash gives "//".
  const app: App = new OpenAPIHono<Env>({
    getPath: (request) => new URL(request.url).pathname.replace(/\/{2,}/g, '/'),
  });
  app.onError((error, c) => errorResponse(c, error));
  app.notFound((c) => {
    const path = c.req.path.startsWith(API_PREFIX) ? c.req.path.slice(API_PREFIX.length) : c.req.path;
    return errorResponse(
      c,
      new ApiError(7003, `Could not route to ${path}, perhaps your object identifier is invalid?`),
    );
  });
  app.get('/openapi.json', (c) =>
    c.json(
      app.getOpenAPI31Document({
        openapi: '3.1.0',
        info: {
          title: 'Selvedge control API',
          version: '0.1.0',
          description: 'The part of the Cloudflare v4 API that this Selvedge serves. Generated from the routes.',
        },
      }),
    ),
  );
  app.openAPIRegistry.registerComponent('securitySchemes', 'token', { type: 'http', scheme: 'bearer' });
  return app;
}

function respond(c: Context, result: unknown): Response {
  if (result instanceof Response) return result;
  const { status, info, result: value } = result instanceof Reply ? result : new Reply(result, 200, undefined);
  return c.json(
    { success: true, errors: [], messages: [], result: value ?? null, ...(info && { result_info: info }) },
    status as 200,
  );
}

function errorResponse(c: Context, thrown: unknown): Response {
  if (!(thrown instanceof ApiError)) {
    log('error', 'the control API failed', {
      method: c.req.method,
      path: c.req.path,
      reason: reason(thrown),
      stack: thrown instanceof Error ? thrown.stack : undefined,
    });
  }
  const error =
    thrown instanceof ApiError ? thrown : new ApiError(10002, 'An internal error: the log of Selvedge has the reason.');
  const chain = error.chain.length > 0 ? { error_chain: error.chain } : {};
  const body = {
    success: false,
    errors: [{ code: error.code, message: error.message, ...chain }],
    messages: [],
    result: null,
  };
  return c.json(body, error.status);
}

const Failure = z
  .object({
    success: z.literal(false),
    errors: z.array(z.object({ code: z.number(), message: z.string() })),
    messages: z.array(z.unknown()),
    result: z.null(),
  })
  .openapi('Failure', {
    description: Object.entries(ERRORS)
      .map(([code, { status, meaning }]) => `${code} (${status}): ${meaning}`)
      .join('\n\n'),
  });
const Success = z
  .object({
    success: z.literal(true),
    errors: z.array(z.unknown()),
    messages: z.array(z.unknown()),
    result: z.unknown(),
  })
  .openapi('Success');

function describe(app: App, path: string, endpoint: Endpoint<z.ZodType, z.ZodObject>): void {
  const names = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]!);
  const json = (schema: z.ZodType) => ({ content: { 'application/json': { schema } } });
  const raw = endpoint.rawBody;
  app.openAPIRegistry.registerPath({
    method: endpoint.method,
    path,
    summary: endpoint.summary,
    security: endpoint.auth === 'none' ? [] : [{ token: [] }],
    request: {
      ...(names.length > 0 && { params: z.object(Object.fromEntries(names.map((name) => [name, z.string()]))) }),
      ...(endpoint.query && { query: endpoint.query }),
      ...(endpoint.body && { body: json(endpoint.body) }),
      ...(raw && { body: { content: { [raw]: { schema: z.any() } } } }),
    },
    responses: {
      200: { description: 'Success', ...json(Success) },
      default: { description: 'Failure', ...json(Failure) },
    },
  });
}
