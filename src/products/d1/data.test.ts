/** What a Worker's process can ask on the socket of a database: the binding's calls, and nothing of the control API. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, describe, it } from 'node:test';
import type { Attach } from '../../model/messages.ts';
import { createHub } from '../../state/local-bus.ts';
import type { Room } from '../product.ts';
import { d1Data } from './data.ts';
import { D1 } from './limits.ts';

const directory = mkdtempSync(join(tmpdir(), 'sd-'));
const hub = createHub();
const product = d1Data(hub);
/** Instead of a database's process: tells what it was asked. */
const seen: { url: string; body: string; headers: NodeJS.Dict<string | string[]> }[] = [];
const database = createServer(async (request, response) => {
  seen.push({ url: request.url!, body: await text(request), headers: request.headers });
  response.writeHead(200, {
    'content-type': 'application/json',
    'x-cf-d1-session-commit-token': 'mark',
    'selvedge-d1-usage': '1,0,2,0',
  });
  response.end('[]');
}).listen(join(directory, 'db'));
const asked: unknown[] = [];
hub.respond('local.d1-wake', (message) => {
  asked.push(message);
  return { id: 'i1', main: join(directory, 'db'), rpc: {} };
});
let taken = 0;
let most = Number.POSITIVE_INFINITY;
const ids = ['11111111-1111-4111-8111-111111111111', '22222222-2222-4222-8222-222222222222'];
const attach = {
  accountId: 'acc',
  bindings: [...ids, ids[0]!].map((databaseId) => ({ type: 'd1', databaseId })),
} as Attach;
const rooms = product.room(attach, { take: () => ++taken <= most }) as Room[];
for (const { server, socket } of rooms) server.listen(join(directory, socket));
after(async () => {
  await product.close();
  for (const { server } of [...rooms, { server: database }]) server.close();
  database.closeAllConnections();
  await hub.close();
  rmSync(directory, { recursive: true });
});

async function post(room: Room, path: string, body = '{}', headers: Record<string, string> = {}) {
  const { request } = await import('node:http');
  return new Promise<{ status: number; headers: NodeJS.Dict<string | string[]>; body: any }>((resolve, reject) => {
    const options = { socketPath: join(directory, room.socket), method: 'POST', path, headers, agent: false };
    request(options, async (response) => {
      const { statusCode: status, headers } = response;
      resolve({ status: status!, headers, body: JSON.parse(await text(response)) });
    })
      .on('error', reject)
      .end(body);
  });
}

describe('the sockets of databases', () => {
  it('are one for each database that is bound', () => {
    assert.deepEqual(
      rooms.map(({ socket }) => socket),
      ['d1-1111111111114111.sock', 'd1-2222222222224222.sock'],
    );
  });

  it('lead to their own database, with the question as it is', async () => {
    const token = { 'x-cf-d1-session-commit-token': 'first-primary', 'x-other': 'dropped' };
    const answer = await post(rooms[1]!, '/query?resultsFormat=NONE', '{"sql":"ü"}', token);
    assert.deepEqual(asked.at(-1), { accountId: 'acc', id: ids[1] });
    const { url, body, headers } = seen.at(-1)!;
    assert.deepEqual([url, body], ['/query?resultsFormat=NONE', '{"sql":"ü"}']);
    assert.deepEqual([headers['x-cf-d1-session-commit-token'], headers['x-other']], ['first-primary', undefined]);
    assert.equal(answer.headers['x-cf-d1-session-commit-token'], 'mark');
    assert.equal(answer.headers['selvedge-d1-usage'], undefined);
  });

  it('refuse what is the control API’s', async () => {
    const before = seen.length;
    for (const path of ['/import', '/export', '/info', '/api/query', '/query/../import', '//import', '/dump']) {
      const { status, body } = await post(rooms[0]!, path);
      assert.deepEqual([status, typeof body.error], [400, 'string'], path);
    }
    assert.equal(seen.length, before);
  });

  it('refuse more than the requests of the Worker may ask, and bodies that are too large', async () => {
    const tooLarge = await post(rooms[0]!, '/query', 'x'.repeat(D1.requestBytes + 1));
    assert.match(tooLarge.body.error, /too large/);
    most = taken;
    assert.match((await post(rooms[0]!, '/query')).body.error, /Too many API requests by single Worker invocation/);
  });
});
