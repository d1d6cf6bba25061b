/** What the rows of KV share: a namespace, and Workers that read and write it. */
import type { Edge } from '../test/harness.ts';

/** Answers with one hot key, which it writes if it is not there. */
export const READS_HOT_KEY = `export default { async fetch(request, env) {
  const value = await env.KV.get('hot');
  if (value !== null) return new Response(value);
  await env.KV.put('hot', 'Hello World!');
  return new Response('written');
} }`;

/** Gets the keys that the query counts from `from` on, one after the other, and tells how long one took, in ms. */
export const READS_COLD_KEYS = `export default { async fetch(request, env) {
  const { searchParams } = new URL(request.url);
  const [from, count] = [Number(searchParams.get('from')), Number(searchParams.get('count'))];
  // The clock of a Worker is coarse.
  const began = performance.now();
  for (let i = from; i < from + count; i++) {
    if (await env.KV.get('key/' + i) === null) throw new Error('absent');
  }
  return Response.json((performance.now() - began) / count);
} }`;

/** Puts as many new keys as the query says, one after the other. */
export const WRITES_KEYS = `export default { async fetch(request, env) {
  const { searchParams } = new URL(request.url);
  const count = Number(searchParams.get('count'));
  const prefix = crypto.randomUUID();
  try { for (let i = 0; i < count; i++) await env.KV.put(prefix + i, 'x'.repeat(100)); } catch (error) { return new Response(error.message, { status: 500 }); }
  return new Response('ok');
} }`;

/** Creates a namespace; returns its binding. */
export async function kvNamespace(edge: Edge): Promise<{ type: string; name: string; namespace_id: string }> {
  const path = `/accounts/${edge.accountId}/storage/kv/namespaces`;
  const { body } = await edge.api(path, { method: 'POST', body: { title: 'bench' } });
  return { type: 'kv_namespace', name: 'KV', namespace_id: body.result.id };
}

/** Writes keys "key/0" to "key/<count - 1>" by the API. */
export async function fill(edge: Edge, namespace: string, count: number): Promise<void> {
  const path = `/accounts/${edge.accountId}/storage/kv/namespaces/${namespace}/bulk`;
  for (let from = 0; from < count; from += 10_000) {
    const pairs = Array.from({ length: Math.min(10_000, count - from) }, (_, i) => ({
      key: `key/${from + i}`,
      value: `value of ${from + i}`,
    }));
    const { status, body } = await edge.api(path, { method: 'PUT', body: pairs });
    if (status !== 200) throw new Error(JSON.stringify(body));
  }
}
