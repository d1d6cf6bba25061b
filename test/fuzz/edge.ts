/** Throws mutated requests at a real edge, and looks after it: it lives, answers good requests, gives connections back, and passes nothing odd on. */
import { connect } from 'node:net';
import { BROKEN_CHUNKS, CORPUS } from '../../src/edge/corpus.ts';
import { type Edge, eventually } from '../harness.ts';
import { mutate, seeded } from './random.ts';

/** Says of each request whether it looks as any request to a Worker may. */
export const WITNESS = `const odd = [];
export default { async fetch(request) {
  const url = new URL(request.url);
  if (url.pathname === '/odd') return Response.json(odd);
  let body = '';
  try { body = await request.text(); } catch {}
  const length = request.headers.get('content-length');
  const names = [...request.headers.keys()];
  const wrong = /[\\0-\\x20\\x7f]/.test(url.pathname) || url.hash !== '' || url.username !== ''
    || names.some((name) => !/^[!#$%&'*+.^_\`|~0-9a-z-]+$/.test(name))
    || ['connection', 'upgrade', 'te', 'keep-alive', 'proxy-connection'].some((name) => request.headers.has(name))
    || (length !== null && Number(length) !== new TextEncoder().encode(body).length && !/[\\x80-\\uffff]/.test(body))
    || [...request.headers.values()].some((value) => /[\\0\\r\\n]/.test(value));
  if (wrong && odd.length < 100) odd.push({ url: request.url, method: request.method, headers: [...request.headers], body });
  return new Response('seen');
} }`;

const LANES = 16;
const ANSWER_MS = 300;

/** Resolves when the connection ends, or after ANSWER_MS. Half of the bytes come in pieces. */
function throwAt(port: number, bytes: Buffer, cut: number): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    const timer = setTimeout(() => socket.destroy(), ANSWER_MS);
    socket.on('error', () => undefined).on('data', () => undefined);
    socket.on('close', () => {
      clearTimeout(timer);
      resolve();
    });
    if (cut >= bytes.length) socket.end(bytes);
    else {
      socket.write(bytes.subarray(0, cut));
      setImmediate(() => socket.destroyed || socket.end(bytes.subarray(cut)));
    }
  });
}

/** `host`: of a Worker of WITNESS. Returns how many requests were thrown. Throws what went wrong, with the bytes before it. */
export async function fuzzEdge(edge: Edge, host: string, seed: number, milliseconds: number): Promise<number> {
  const random = seeded(seed);
  const texts = [...CORPUS, ...BROKEN_CHUNKS].map(({ bytes }) => bytes.slice(0, 2_000));
  const restarts = async () => {
    const { body } = await edge.api('/../../selvedge/status');
    return body.result.processes.map((process: { restarts: number }) => process.restarts).join();
  };
  const before = await restarts();
  const deadline = Date.now() + milliseconds;
  let thrown = 0;
  const lane = async () => {
    while (Date.now() < deadline) {
      const bytes = Buffer.from(mutate(random.pick(texts).replaceAll('HOST', host), random), 'latin1');
      thrown++;
      await throwAt(edge.http, bytes, random.below(2 * bytes.length + 1));
      if (thrown % 50 === 0) {
        const good = await edge.request(host, '/good');
        if (good.status !== 200 || good.text !== 'seen')
          throw new Error(`a good request got ${good.status} after ${JSON.stringify(bytes.toString('latin1'))}`);
      }
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  const odd = (await edge.request(host, '/odd')).json();
  if (odd.length > 0) throw new Error(`the Worker saw what no request may be: ${JSON.stringify(odd[0])}`);
  const after = await restarts();
  if (after !== before) throw new Error(`a process died: restarts ${before} before, ${after} after`);
  await eventually(async () => {
    const { body } = await edge.api('/../../selvedge/status');
    return body.result.traffic.connections <= 1;
  });
  return thrown;
}
