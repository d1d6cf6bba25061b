import assert from 'node:assert/strict';
import { after, it } from 'node:test';
import { startEdge } from '../../test/harness.ts';
import { ALLOW_LOOPBACK, startOrigin } from '../../test/origin.ts';

const resolver = await startOrigin((request, response) => {
  const { searchParams } = new URL(request.url!, 'http://x');
  const name = searchParams.get('name')!;
  response.statusCode = name === 'broken.example' ? 502 : 200;
  response.end(JSON.stringify({ Answer: [{ name, TTL: 300, data: `${searchParams.get('type')} of ${name}` }] }));
});
after(() => resolver.close());
const edge = await startEdge({ args: ALLOW_LOOPBACK });
after(() => edge.close());
await edge.deployed(['deploy', '--var', `RESOLVER:${resolver.url}/resolve`], { cwd: import.meta.dirname });

async function query(text: string, variables: object = {}) {
  resolver.asked.length = 0;
  const answer = await edge.request(edge.host('graphql-dns'), '/', {
    method: 'POST',
    body: JSON.stringify({ query: text, variables }),
  });
  return { status: answer.status, body: answer.json() };
}

it('answers a query with variables', async () => {
  const { status, body } = await query('query ($name: String!) { domain(name: $name) { name records { data ttl } } }', {
    name: 'a.example',
  });
  assert.equal(status, 200);
  assert.deepEqual(body.data.domain, { name: 'a.example', records: [{ data: 'A of a.example', ttl: 300 }] });
});

it('asks the resolver once for what several fields want', async () => {
  const { body } = await query(`{
    one: domain(name: "a.example") { records { data } mx: records(type: MX) { data } }
    two: domain(name: "A.example") { records { data } again: records(type: A) { ttl } }
    three: domain(name: "b.example") { records { data } }
  }`);
  assert.equal(body.data.two.records[0].data, 'A of a.example');
  assert.equal(body.data.one.mx[0].data, 'MX of a.example');
  assert.deepEqual(resolver.asked.sort(), [
    '/resolve?name=a.example&type=A',
    '/resolve?name=a.example&type=MX',
    '/resolve?name=b.example&type=A',
  ]);
});

it('says what is wrong with a query, and which part failed', async () => {
  assert.match((await query('{ nonsense }')).body.errors[0].message, /Cannot query field/);
  const { body } = await query('{ domain(name: "broken.example") { records { data } } }');
  assert.match(body.errors[0].message, /the resolver answered 502 for broken\.example/);
});
