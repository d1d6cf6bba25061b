import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { openBench } from './testing.ts';

const bench = await openBench();
after(() => bench.close());

async function inspect(modules: Record<string, string>, over = {}) {
  return bench.host.inspect(await bench.version(modules, over));
}

describe('the inspection of a script', () => {
  it('tells handlers and entrypoints', async () => {
    const source = `
      import { WorkerEntrypoint, DurableObject, WorkflowEntrypoint } from 'cloudflare:workers';
      export default { fetch() {}, scheduled() {}, notAHandler() {} };
      export class Api extends WorkerEntrypoint { fetch() {} add(a, b) { return a + b } }
      export class Room extends DurableObject { fetch() {} }
      export class Flow extends WorkflowEntrypoint { run() {} }
      export const plain = { fetch() {} };
      export function helper() {}`;
    const result = await inspect({ 'src/index.js': source });
    assert.ok(result.ok, JSON.stringify(result));
    assert.deepEqual(result.handlers, ['fetch', 'scheduled']);
    assert.deepEqual(result.entrypoints.map(({ name, kind }) => [name, kind]).sort(), [
      ['Api', 'worker'],
      ['Flow', 'workflow'],
      ['Room', 'durable-object'],
      ['plain', 'object'],
    ]);
    assert.ok(result.startupTimeMs >= 1);
  });

  it('tells the handlers of a service-worker script', async () => {
    const source =
      "addEventListener('fetch', (e) => e.respondWith(new Response('x'))); addEventListener(\"scheduled\", () => {})";
    const result = await inspect({ 'index.js': source }, { format: 'service-worker' });
    assert.ok(result.ok, JSON.stringify(result));
    assert.deepEqual(result.handlers, ['fetch', 'scheduled']);
  });

  it('tells them of a default class too', async () => {
    const source =
      "import { WorkerEntrypoint } from 'cloudflare:workers'; export default class extends WorkerEntrypoint { fetch() {} }";
    const result = await inspect({ 'index.js': source });
    assert.ok(result.ok, JSON.stringify(result));
    assert.deepEqual(result.handlers, ['fetch']);
  });

  for (const [what, source, message] of [
    ['a syntax error with its place', 'export default {\n  fetch( {', /SyntaxError[\s\S]*index\.js:2/],
    [
      'an exception at start with its place',
      'const a = 1;\nthrow new Error("not today");',
      /not today[\s\S]*index\.js:2/,
    ],
    ['a module that is not there', 'import "./nope.js"; export default {}', /No such module/],
    ['I/O at start', 'await fetch("https://example.com"); export default {}', /global scope/],
    ['a loop at start', 'for (;;); export default {}', /Script startup exceeded CPU time limit/],
  ] as const) {
    it(`tells ${what}`, async () => {
      const result = await inspect({ 'index.js': source });
      assert.ok(!result.ok);
      assert.match(result.message, message);
      assert.doesNotMatch(result.message, /selvedge|service user/i);
    });
  }

  it('tells a script that takes more memory while it starts than it may have', async () => {
    const source = `const kept = [];
      for (let i = 0; i < 200; i++) kept.push(new Uint8Array(16 << 20).fill(1));
      export default { fetch() {} }`;
    const result = await inspect({ 'index.js': source });
    assert.deepEqual(result, { ok: false, message: 'Script startup exceeded memory limit.' });
  });

  it('tells an unknown compatibility flag', async () => {
    const result = await inspect(
      { 'index.js': 'export default { fetch() {} }' },
      { compatibilityFlags: ['no_such_flag'] },
    );
    assert.ok(!result.ok);
    assert.match(result.message, /no_such_flag/);
  });

  for (const name of ["it's.js", 'a$&$`.js', 'a"b.js', 'a\u2028throw 1.js', 'a b.js', 'dir/USER_MODULE.js']) {
    it(`takes a main module named ${JSON.stringify(name)}`, async () => {
      const result = await inspect({ [name]: 'export default { fetch() {} }' });
      assert.ok(result.ok, JSON.stringify(result));
      assert.deepEqual(result.handlers, ['fetch']);
    });
  }

  it('refuses Python by name', async () => {
    const version = await bench.version({ 'index.js': '' });
    version.modules[0]!.type = 'python';
    const result = await bench.host.inspect(version);
    assert.ok(!result.ok);
    assert.match(result.message, /Python/);
  });
});

it('a script that throws is told of by its own message and frames only', async () => {
  const result = await inspect({ 'index.js': 'throw new Error("not today")' });
  assert.ok(!result.ok);
  assert.doesNotMatch(result.message, /user:\d|No event handlers/);
});
