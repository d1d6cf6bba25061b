import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { keys } from '../model/keys.ts';
import { LIMITS } from '../model/limits.ts';
import { type Bench, HELLO, openBench, upload } from './testing.ts';

let bench: Bench;
let scripts: string;
before(async () => {
  bench = await openBench();
  scripts = `/accounts/${bench.alice.id}/workers/scripts`;
});
after(() => bench.close());

const put = (name: string, form: FormData) => bench.api('PUT', `${scripts}/${name}`, form);
const codeOf = async (answer: ReturnType<Bench['api']>) => (await answer).errors[0]?.code;

describe('an upload that is wrong is refused, and nothing of it stays', () => {
  const variables = (count: number) =>
    Array.from({ length: count }, (_, index) => ({ name: `V${index}`, type: 'plain_text', text: 'x' }));
  const file = (content: string | Uint8Array<ArrayBuffer>, name: string, type: string) =>
    new File([content], name, { type });
  const noMetadata = new FormData();
  noMetadata.set('index.js', file(HELLO, 'index.js', 'application/javascript+module'), 'index.js');
  const brokenMetadata = upload();
  brokenMetadata.set('metadata', '{');
  const cases: [string, () => FormData, number, RegExp][] = [
    ['no metadata', () => noMetadata, 10006, /"metadata"/],
    ['metadata that are no JSON', () => brokenMetadata, 10006, /not JSON/],
    ['metadata of a wrong type', () => upload({ bindings: 'x' }), 10006, /metadata\.bindings/],
    ['a main module that is not there', () => upload({ main_module: 'other.js' }), 10006, /other\.js/],
    ['neither main_module nor body_part', () => upload({ main_module: undefined }), 10006, /main_module/],
    [
      'a module of an unknown type',
      () => upload({}, { 'index.js': HELLO, 'x.bin': file('x', 'x.bin', 'font/woff') }),
      10006,
      /font\/woff/,
    ],
    ['a syntax error', () => upload({}, { 'index.js': 'export default {' }), 10021, /SyntaxError/],
    ['an exception at start', () => upload({}, { 'index.js': 'throw new Error("boom")' }), 10021, /boom/],
    ['a missing import', () => upload({}, { 'index.js': 'import "./gone.js"; export default {}' }), 10021, /gone\.js/],
    ['a compatibility date in the future', () => upload({ compatibility_date: '2036-01-01' }), 10021, /2036-01-01/],
    ['a compatibility date that is none', () => upload({ compatibility_date: 'today' }), 10021, /today/],
    ['an unknown compatibility flag', () => upload({ compatibility_flags: ['no_such_flag'] }), 10021, /no_such_flag/],
    [
      'a binding of an absent product',
      () => upload({ bindings: [{ name: 'H', type: 'hyperdrive', id: 'h' }] }),
      10052,
      /H is of type hyperdrive.* no Hyperdrive/,
    ],
    ['a binding of an unknown type', () => upload({ bindings: [{ name: 'Z', type: 'zzz' }] }), 10052, /Z.*zzz/],
    ['a binding name used twice', () => upload({ bindings: [...variables(1), ...variables(1)] }), 10053, /V0/],
    [
      'a variable that is too large',
      () => upload({ bindings: [{ name: 'V', type: 'plain_text', text: 'x'.repeat(5121) }] }),
      10054,
      /5 KB/,
    ],
    ['too many variables', () => upload({ bindings: variables(129) }), 10055, /128/],
    ['a binding to inherit from nothing', () => upload({ bindings: [{ name: 'I', type: 'inherit' }] }), 10057, /I/],
    [
      'a Durable Object class that is not exported',
      () => upload({ migrations: { new_tag: 'v1', steps: [{ new_classes: ['A'] }] } }),
      10070,
      /does not export class 'A'/,
    ],
    ['tail consumers', () => upload({ tail_consumers: [{ service: 'x' }] }), 10058, /tail_consumers/],
    ['containers', () => upload({ containers: [{}] }), 10058, /Containers/],
    ['a Python module', () => upload({}, { 'index.py': file('x', 'index.py', 'text/x-python') }), 10058, /Python/],
    [
      'a service binding to nobody',
      () => upload({ bindings: [{ name: 'S', type: 'service', service: 'nobody' }] }),
      10143,
      /'nobody' not found/,
    ],
    [
      'a service binding to an entrypoint it does not export',
      () => upload({ bindings: [{ name: 'S', type: 'service', service: 'bad', entrypoint: 'Gone' }] }),
      10144,
      /Gone/,
    ],
    ['more CPU time than the plan allows', () => upload({ limits: { cpu_ms: 300_001 } }), 10039, /300000/],
    ['an assets token that is none', () => upload({ assets: { jwt: 'a.b.c' } }), 10303, /token/],
    [
      'an assets binding without assets',
      () => upload({ bindings: [{ name: 'ASSETS', type: 'assets' }] }),
      10006,
      /no assets/,
    ],
    [
      'more than 10 MiB after compression',
      () =>
        upload(
          {},
          {
            'index.js': HELLO,
            'noise.bin': file(
              new Uint8Array(randomBytes(LIMITS.scriptCompressedBytes + 1)),
              'noise.bin',
              'application/octet-stream',
            ),
          },
        ),
      10027,
      /10 MiB/,
    ],
  ];
  for (const [what, form, code, message] of cases) {
    it(what, async () => {
      const answer = await put('bad', form());
      assert.deepEqual([answer.success, answer.errors[0]?.code], [false, code], JSON.stringify(answer));
      assert.match(answer.errors[0]!.message, message);
      assert.ok(answer.status >= 400 && answer.status < 500);
      assert.equal(await bench.ledger.get(keys.script(bench.alice.id, 'bad')), null);
    });
  }

  for (const name of ['Upper', 'a.b', 'x'.repeat(64), '-a', 'a%2Fb', 'ünï']) {
    it(`the name ${name.slice(0, 10)}`, async () => assert.equal(await codeOf(put(name, upload())), 10016));
  }

  it('a body that is no multipart', async () => {
    assert.equal(await codeOf(bench.api('PUT', `${scripts}/bad`, { a: 1 })), 10006);
  });
});

describe('a version', () => {
  it('takes over secrets and inherited bindings from the version before', async () => {
    const bindings = [
      { name: 'KEY', type: 'secret_text', text: 'value-of-key' },
      { name: 'OLD', type: 'json', json: { a: 1 } },
      { name: 'GONE', type: 'plain_text', text: 'x' },
    ];
    await put('keep', upload({ bindings }));
    const next = {
      bindings: [{ name: 'NEW', type: 'inherit', old_name: 'OLD' }],
      keep_bindings: ['secret_text', 'secret_key'],
    };
    await put('keep', upload(next));
    const { result } = await bench.api('GET', `${scripts}/keep/settings`);
    assert.deepEqual(result.bindings, [
      { name: 'NEW', type: 'json', json: { a: 1 } },
      { name: 'KEY', type: 'secret_text' },
    ]);
  });

  it('shows its modules again as they were uploaded', async () => {
    const wasm = new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
    const modules = {
      'a/main.js': 'import m from "./m.wasm"; export default { fetch() {} }',
      'a/m.wasm': new File([wasm], 'm', { type: 'application/wasm' }),
    };
    assert.ok((await put('content', upload({}, modules))).success);
    const response = await fetch(`${bench.base}${scripts}/content`, {
      headers: { authorization: `Bearer ${bench.tokens.alice}` },
    });
    assert.equal(response.headers.get('cf-entrypoint'), 'a/main.js');
    const form = await response.formData();
    assert.deepEqual(new Uint8Array(await (form.get('a/m.wasm') as File).arrayBuffer()), wasm);
  });

  it('is pruned when there are many newer ones, unless it is deployed or has an alias', async () => {
    const first = (await put('many', upload())).result.deployment_id;
    const aliased = await bench.api(
      'POST',
      `${scripts}/many/versions`,
      upload({ annotations: { 'workers/alias': 'kept' } }),
    );
    const doomed = await bench.api('POST', `${scripts}/many/versions`, upload());
    for (let count = 0; count < LIMITS.versionsPerScript; count += 10) {
      await Promise.all(Array.from({ length: 10 }, () => bench.api('POST', `${scripts}/many/versions`, upload())));
    }
    const exists = async (id: string) => (await bench.api('GET', `${scripts}/many/versions/${id}`)).success;
    assert.deepEqual(await Promise.all([first, aliased.result.id, doomed.result.id].map(exists)), [true, true, false]);
    const numbers = (await bench.api('GET', `${scripts}/many/versions?per_page=100`)).result.items.map(
      ({ number }: { number: number }) => number,
    );
    assert.equal(numbers[0], LIMITS.versionsPerScript + 3, 'one number for each, none twice');
    assert.equal(new Set(numbers).size, numbers.length);
    assert.deepEqual((await bench.api('GET', `${scripts}/many/versions?per_page=100&page=3`)).result.items, []);
  });
});

describe('a deployment', () => {
  it('is refused unless it names one or two versions of this Worker with 100 percent together', async () => {
    const other = (await put('other', upload())).result.deployment_id;
    const a = (await put('dep', upload())).result.deployment_id;
    const b = (await bench.api('POST', `${scripts}/dep/versions`, upload())).result.id;
    const share = (version_id: string, percentage: number) => ({ version_id, percentage });
    const cases: [object[], number][] = [
      [[], 10001],
      [[share(a, 30), share(b, 30), share(a, 40)], 10001],
      [[share(a, 101)], 10001],
      [[share(a, 50)], 10211],
      [[share(a, 50), share(b, 60)], 10211],
      [[share(a, 50), share(a, 50)], 10211],
      [[share(other, 100)], 10212],
      [[share('nonsense', 100)], 10212],
    ];
    for (const [versions, code] of cases) {
      assert.equal(
        await codeOf(bench.api('POST', `${scripts}/dep/deployments`, { strategy: 'percentage', versions })),
        code,
        JSON.stringify(versions),
      );
    }
    assert.equal((await bench.api('GET', `${scripts}/dep/deployments`)).result.deployments.length, 1);
    const split = await bench.api('POST', `${scripts}/dep/deployments`, {
      strategy: 'percentage',
      versions: [share(a, 99.5), share(b, 0.5)],
    });
    assert.ok(split.success);
  });

  it('of two at once: one order, both recorded, and the last one is live', async () => {
    await put('race', upload());
    const both = await Promise.all([1, 2, 3, 4].map(() => put('race', upload())));
    assert.ok(both.every(({ success }) => success));
    const { deployments } = (await bench.api('GET', `${scripts}/race/deployments`)).result;
    assert.equal(deployments.length, 5);
    const times = deployments.map((each: { created_on: string }) => each.created_on);
    assert.deepEqual(times, [...times].sort().reverse());
    const { items } = (await bench.api('GET', `${scripts}/race/versions`)).result;
    assert.deepEqual(
      items.map(({ number }: { number: number }) => number),
      [5, 4, 3, 2, 1],
    );
    assert.equal(deployments[0].versions[0].version_id, items[0].id, 'the newest version is the live one');
    assert.equal(new Set(deployments.map((each: any) => each.versions[0].version_id)).size, 5);
  });

  it('made while a secret is put does not drop the secret', async () => {
    await put('both', upload());
    const secret = { name: 'S', type: 'secret_text', text: 'v' };
    const [deployed, written] = await Promise.all([
      put('both', upload({ keep_bindings: ['secret_text'] })),
      bench.api('PUT', `${scripts}/both/secrets`, secret),
    ]);
    assert.ok(deployed.success && written.success);
    assert.deepEqual((await bench.api('GET', `${scripts}/both/secrets`)).result, [{ name: 'S', type: 'secret_text' }]);
  });

  it('is answered when the PoP has applied it', async () => {
    await put('live', upload());
    const { revision } = (await bench.ledger.get(keys.script(bench.alice.id, 'live')))!;
    assert.ok(bench.applied.includes(revision));
  });
});

describe('secrets', () => {
  it('have limits, and do not replace other bindings', async () => {
    await put('secrets', upload({ bindings: [{ name: 'TAKEN', type: 'plain_text', text: 'x' }] }));
    const set = (name: string, text: string) =>
      codeOf(bench.api('PUT', `${scripts}/secrets/secrets`, { name, text, type: 'secret_text' }));
    assert.equal(await set('TAKEN', 'x'), 10053);
    assert.equal(await set('BIG', 'x'.repeat(5121)), 10054);
    assert.equal(await set('', 'x'), 10001);
    assert.equal(await codeOf(bench.api('DELETE', `${scripts}/secrets/secrets/NONE?url_encoded=true`)), 10056);
    const odd = 'a/b c%';
    assert.equal(await set(odd, 'x'), undefined);
    assert.equal((await bench.api('GET', `${scripts}/secrets/secrets/${encodeURIComponent(odd)}`)).result.name, odd);
    assert.ok(
      (await bench.api('DELETE', `${scripts}/secrets/secrets/${encodeURIComponent(odd)}?url_encoded=true`)).success,
    );
  });

  it('that break the start of the script are refused', async () => {
    const source =
      'import { env } from "cloudflare:workers"; if (env.MODE === "bad") throw new Error("bad mode"); export default { fetch() {} }';
    await put('starts', upload({}, { 'index.js': source }));
    const answer = await bench.api('PUT', `${scripts}/starts/secrets`, {
      name: 'MODE',
      type: 'secret_text',
      text: 'bad',
    });
    assert.equal(answer.errors[0]?.code, 10021);
    assert.deepEqual((await bench.api('GET', `${scripts}/starts/secrets`)).result, []);
  });
});

describe('deleting a Worker', () => {
  it('is refused while another binds it, unless forced', async () => {
    await put('used', upload());
    await put('user', upload({ bindings: [{ name: 'S', type: 'service', service: 'used' }] }));
    const references = await bench.api('GET', `${scripts}/used/references`);
    assert.deepEqual(references.result.services.incoming, [{ service: 'user', environment: 'production', name: 'S' }]);
    const service = `/accounts/${bench.alice.id}/workers/services/used`;
    assert.equal(await codeOf(bench.api('DELETE', `${service}?force=false`)), 10059);
    assert.ok((await bench.api('DELETE', `${service}?force=true`)).success);
    assert.equal(await codeOf(bench.api('GET', service)), 10090);
  });

  it('and making it anew starts at version 1 with nothing of the old one', async () => {
    await put('again', upload({ bindings: [{ name: 'S', type: 'secret_text', text: 'old' }] }));
    const old = (await bench.api('GET', `${scripts}/again/versions`)).result.items[0].id;
    await bench.api('DELETE', `${scripts}/again`);
    // As a deletion that was cut off would leave it.
    await bench.ledger.put(keys.version(bench.alice.id, 'again', old), { id: old, number: 7 });
    await put('again', upload({ keep_bindings: ['secret_text'] }));
    const { items } = (await bench.api('GET', `${scripts}/again/versions`)).result;
    assert.deepEqual(
      items.map(({ number }: { number: number }) => number),
      [1],
    );
    assert.deepEqual((await bench.api('GET', `${scripts}/again/secrets`)).result, []);
  });
});

describe('products that are not here yet', () => {
  it('say so by name', async () => {
    for (const [path, name] of [
      ['hyperdrive/configs', 'Hyperdrive'],
      ['workflows/w', 'Workflows'],
      ['pages/projects', 'Pages'],
    ]) {
      const answer = await bench.api('GET', `/accounts/${bench.alice.id}/${path}`);
      assert.deepEqual(
        [answer.errors[0]!.code, answer.errors[0]!.message],
        [10058, `This Selvedge has no ${name} yet.`],
      );
    }
  });
});
