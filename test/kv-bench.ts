/** KV in tests: an edge with a namespace, two Workers that do what they are told with it, and the data process to be harmed. */
import assert from 'node:assert/strict';
import { eventually, startEdge } from './harness.ts';

/** Does what the body says: `method`, `args`; tells the result, or the error. */
export const CALLER = `
const shown = async (value) => {
  if (value instanceof ReadableStream) return { stream: await new Response(value).text() };
  if (value instanceof ArrayBuffer) return { bytes: [...new Uint8Array(value)] };
  if (value instanceof Map) return { map: [...value] };
  return value === undefined ? 'undefined' : value;
};
export default { async fetch(request, env) {
  const { method, args, bytes, stream } = await request.json();
  if (bytes) args[1] = new Uint8Array(bytes);
  if (stream) args[1] = new Blob([stream]).stream();
  if (stream) { const { readable, writable } = new FixedLengthStream(stream.length); args[1].pipeTo(writable); args[1] = readable; }
  try {
    const result = await env.KV[method](...args);
    if (method === 'getWithMetadata' && !(result instanceof Map)) return Response.json({ ok: { ...result, value: await shown(result.value) } });
    return Response.json({ ok: await shown(result) });
  } catch (error) {
    return Response.json({ error: error.message, name: error.name });
  }
} }`;

export async function openKvBench() {
  const edge = await startEdge();
  const cwd = await edge.project({ name: 'none', compatibility_date: '2026-11-01' }, {});
  const created = await edge.deployed(['kv', 'namespace', 'create', 'first'], { cwd });
  const id = /"id": "([0-9a-f]{32})"/.exec(created)![1]!;

  async function deploy(name: string, config: Record<string, unknown> = {}, source = CALLER): Promise<string> {
    const project = await edge.project(
      { name, main: 'index.js', compatibility_date: '2026-11-01', kv_namespaces: [{ binding: 'KV', id }], ...config },
      { 'index.js': source },
    );
    await edge.deployed(['deploy'], { cwd: project });
    return edge.host(name);
  }
  const host = await deploy('one');
  const second = await deploy('two');
  return {
    edge,
    cwd,
    id,
    host,
    second,
    deploy,
    async call(method: string, args: unknown[], more: object = {}, at = host): Promise<any> {
      const body = JSON.stringify({ method, args, ...more });
      const answer = await edge.request(at, '/', { method: 'POST', body });
      assert.equal(answer.status, 200, answer.text);
      return answer.json();
    },
    kv: (...args: string[]) => edge.deployed(['kv', ...args, '--remote'], { cwd }),
    /** Its pid, when it is ready. */
    async dataProcess(): Promise<number> {
      const found = await eventually(async () => {
        const { body } = await edge.api('/../../selvedge/status');
        return body.result.processes.find(
          ({ name, ready }: { name: string; ready: boolean }) => name === 'data' && ready,
        );
      });
      return found.pid;
    },
  };
}
