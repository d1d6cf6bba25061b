/** Throws wrong calls at the control API, made from its own OpenAPI document: never a 500, always the envelope. */
import type { Edge } from '../harness.ts';
import { type Random, seeded } from './random.ts';

const ODD: unknown[] = [
  null,
  true,
  false,
  0,
  -1,
  1.5,
  1e308,
  '',
  'x',
  ' ',
  '../..',
  '\u0000',
  '\u202e',
  '💥',
  'a'.repeat(10_000),
  [],
  {},
  [[[[]]]],
  { a: { b: { c: {} } } },
  '__proto__',
  'constructor',
];
const NAMES = [
  'id',
  'name',
  'pattern',
  'script',
  'enabled',
  'crons',
  'versions',
  'percentage',
  'strategy',
  'type',
  'text',
  'hostname',
  'annotations',
  'steps',
  '__proto__',
  '',
];

function value(random: Random, depth = 0): unknown {
  if (depth > 3 || random.below(3) > 0) return random.pick(ODD);
  if (random.below(2) > 0) return Array.from({ length: random.below(4) }, () => value(random, depth + 1));
  return Object.fromEntries(
    Array.from({ length: random.below(5) }, () => [random.pick(NAMES), value(random, depth + 1)]),
  );
}

/** Returns how many calls were made. Throws the first call that was answered as none may be. */
export async function fuzzApi(edge: Edge, seed: number, milliseconds: number): Promise<number> {
  const random = seeded(seed);
  const origin = edge.apiUrl.replace('/client/v4', '');
  const { paths } = (await (await fetch(`${origin}/openapi.json`)).json()) as {
    paths: Record<string, Record<string, unknown>>;
  };
  const calls = Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => ({ path, method })),
  );
  const deadline = Date.now() + milliseconds;
  let made = 0;
  while (Date.now() < deadline) {
    const { path, method } = random.pick(calls);
    const filled = path.replace(/\{(\w+)\}/g, (_, name) =>
      name === 'account_id' && random.below(4) > 0
        ? edge.accountId
        : encodeURIComponent(String(random.pick(ODD)).slice(0, 300)),
    );
    const query =
      random.below(2) > 0 ? `?${random.pick(NAMES)}=${encodeURIComponent(String(random.pick(ODD)).slice(0, 300))}` : '';
    const body =
      method === 'get' ? undefined : random.below(8) === 0 ? '{"a":'.repeat(50) : JSON.stringify(value(random));
    const type = random.pick([
      'application/json',
      'multipart/form-data',
      'multipart/form-data; boundary=x',
      'text/plain',
      '',
    ]);
    const url = `${origin}${filled}${query}`;
    const response = await fetch(url, {
      method: method.toUpperCase(),
      headers: { authorization: `Bearer ${edge.token}`, ...(type && { 'content-type': type }) },
      body,
      redirect: 'manual',
      signal: AbortSignal.timeout(20_000),
    });
    const text = await response.text();
    made++;
    const said = `${method} ${url} ${type} ${body?.slice(0, 500)} -> ${response.status} ${text.slice(0, 500)}`;
    if (response.status >= 500 && response.status !== 501) throw new Error(`the API failed: ${said}`);
    if (response.headers.get('content-type')?.includes('json')) {
      const envelope = JSON.parse(text) as { success?: boolean; errors?: unknown[] };
      if (response.status >= 400 && (envelope.success !== false || !envelope.errors?.length))
        throw new Error(`no envelope: ${said}`);
    }
  }
  return made;
}
