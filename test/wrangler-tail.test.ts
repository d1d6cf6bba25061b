/** `wrangler tail`: requests, logs and exceptions of a Worker while they happen; filters and sampling; other accounts see nothing. */
import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { eventually, startEdge } from './harness.ts';

const edge = await startEdge();
after(() => edge.close());
const source = `export default { async fetch(request, env, ctx) {
  const { pathname } = new URL(request.url);
  console.log('seen', pathname, { deep: [1] });
  console.error('problem');
  if (pathname === '/throw') throw new TypeError('thrown on purpose');
  if (pathname === '/loop') for (;;);
  ctx.waitUntil(new Promise((r) => setTimeout(r, 5)).then(() => console.log('later')));
  return new Response('ok');
} }`;
const cwd = await edge.project(
  { name: 'traced', main: 'index.js', compatibility_date: '2026-11-01', limits: { cpu_ms: 100 } },
  { 'index.js': source },
);
await edge.deployed(['deploy'], { cwd });
const host = edge.host('traced');

async function tail(args: string[]) {
  const child = edge.wranglerProcess(['tail', 'traced', ...args], { cwd });
  let output = '';
  for (const stream of [child.stdout!, child.stderr!])
    stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  // In JSON format nothing says that it is connected; the API does.
  await eventually(async () => {
    const { body } = await edge.api(`/accounts/${edge.accountId}/workers/scripts/traced/tails`);
    return (
      body.result?.some?.((session: { connected?: boolean }) => session.connected !== false) &&
      /./.test(JSON.stringify(body.result))
    );
  }, 30_000);
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  return {
    output: () => output,
    events: () =>
      output
        .split(/\n(?=\{)/)
        .filter((text) => text.trim().startsWith('{'))
        .map((text) => {
          try {
            return JSON.parse(text);
          } catch {
            return null;
          }
        })
        .filter((event) => event !== null),
    stop: () =>
      new Promise<void>((resolve) => {
        child.once('close', () => resolve());
        child.kill('SIGINT');
      }),
  };
}

it('shows requests, logs, exceptions and what the watchdog ended, as JSON', async () => {
  const session = await tail(['--format', 'json']);
  await edge.request(host, '/a?b=c', { headers: { authorization: 'Bearer hush', 'x-custom': 'yes' } });
  await edge.request(host, '/throw');
  await edge.request(host, '/loop');
  const events = await eventually(() => session.events().length >= 3 && session.events(), 20_000);
  await session.stop();
  const [first, thrown, looped] = ['/a', '/throw', '/loop'].map((path) =>
    events.find((event) => new URL(event.event.request.url).pathname === path),
  );
  assert.equal(first.outcome, 'ok');
  assert.equal(first.scriptName, 'traced');
  assert.equal(first.event.request.method, 'GET');
  assert.equal(first.event.request.headers['x-custom'], 'yes');
  assert.equal(first.event.request.headers.authorization, 'REDACTED');
  assert.equal(first.event.response.status, 200);
  assert.deepEqual(
    first.logs.map((log: { message: unknown[]; level: string }) => [log.level, ...log.message]),
    [
      ['log', 'seen', '/a', { deep: [1] }],
      ['error', 'problem'],
      ['log', 'later'],
    ],
  );
  assert.equal(thrown.outcome, 'exception');
  assert.equal(thrown.exceptions[0].name, 'TypeError');
  assert.equal(thrown.exceptions[0].message, 'thrown on purpose');
  assert.equal(looped.outcome, 'exceededCpu');
});

it('is readable for people, and filters', async () => {
  const session = await tail(['--format', 'pretty', '--status', 'error', '--method', 'POST']);
  await edge.request(host, '/fine', { method: 'POST' });
  await edge.request(host, '/throw');
  await edge.request(host, '/throw', { method: 'POST' });
  await eventually(() => session.output().includes('POST') && session.output(), 20_000);
  await session.stop();
  assert.match(session.output(), /POST .*\/throw.*Exception/);
  assert.doesNotMatch(session.output(), /\/fine|GET/);
  assert.match(session.output(), /thrown on purpose/);
});

it('samples', async () => {
  const session = await tail(['--format', 'json', '--sampling-rate', '0.2']);
  for (let i = 0; i < 100; i++) await edge.request(host, `/n${i}`);
  await eventually(() => session.events().length > 0, 10_000);
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  const count = session.events().length;
  await session.stop();
  assert.ok(count > 0 && count < 60, `${count} of 100`);
});
