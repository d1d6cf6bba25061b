import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, it } from 'node:test';
import { startEdge } from '../../test/harness.ts';

const USERS = 25_000;
const edge = await startEdge();
after(() => edge.close());
// The recipe as it is, with a company's list instead of the example's.
const cwd = await edge.project({}, {});
for (const name of ['src', 'wrangler.jsonc'])
  cpSync(join(import.meta.dirname, name), join(cwd, name), { recursive: true });
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');
const lines = Array.from({ length: USERS }, (_, i) => `user-${i}\t${sha256(`token-${i}`)}\twiki,site-${i}`);
writeFileSync(join(cwd, 'src/permissions.txt'), lines.join('\n'));
await edge.deployed(['deploy'], { cwd });

const ask = (authorization: string, query = '') =>
  edge.request(edge.host('auth-at-start'), `/${query}`, { headers: { authorization } });

it('has a list of more than two megabytes', () => {
  assert.ok(lines.join('\n').length > 2e6);
});

it('lets a user go on to the sites of the list, the first and the last of it', async () => {
  for (const i of [0, USERS - 1]) {
    const { status, body } = await ask(`Start user-${i}:token-${i}`, `?site=site-${i}`).then((answer) => ({
      status: answer.status,
      body: answer.json(),
    }));
    assert.deepEqual([status, body], [200, { allowed: true, sites: ['wiki', `site-${i}`] }]);
  }
});

it('refuses other sites, wrong tokens, unknown users and other schemes', async () => {
  assert.equal((await ask('Start user-7:token-7', '?site=site-8')).status, 403);
  for (const authorization of ['Start user-7:token-8', 'Start nobody:token-7', 'Basic user-7:token-7', 'Start', ''])
    assert.equal((await ask(authorization)).status, 401, authorization);
});
