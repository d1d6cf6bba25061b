import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createSecureServer } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { after, describe, it } from 'node:test';
import { createBudget } from './budget.ts';
import { ask, openBench } from './egress-testing.ts';
import { selfSigned } from './testing.ts';

const bench = await openBench();
const { exit, port, names, origin } = bench;
after(() => bench.close());

describe('refusals', () => {
  const outcome = async (path: string, url: string) => {
    const { status, body } = await ask(path, url);
    return `${status} ${String(body).split('\n')[0]}`;
  };

  it('answers 403 for private addresses in every notation that a URL has', async () => {
    const { path } = await exit({ allow: [] });
    const hosts = ['127.0.0.1', '127.1', '2130706433', '0x7f.0.0.1', '0', '10.0.0.1', '169.254.169.254'];
    hosts.push('[::1]', '[::ffff:127.0.0.1]', '[64:ff9b::7f00:1]', '[fd00:ec2::254]', '[::]');
    for (const host of hosts)
      assert.equal(await outcome(path, `http://${host}:${port}/`), '403 error code: 1003', host);
    assert.equal(await outcome(path, `https://127.0.0.1:${port}/`), '403 error code: 1003');
  });
  it('answers 403 for names that resolve to private addresses, also as the hop of a redirect', async () => {
    const { path } = await exit();
    assert.equal(await outcome(path, 'http://private.example/'), '403 error code: 1002');
    assert.equal(await outcome(path, 'https://metadata.example/latest'), '403 error code: 1002');
    const { headers } = await ask(path, `http://origin.example:${port}/redirect`);
    assert.equal(await outcome(path, headers.location!), '403 error code: 1002');
  });
  it('refuses WebSockets to private addresses', async () => {
    const { path } = await exit({ allow: [] });
    const headers = { connection: 'Upgrade', upgrade: 'websocket' };
    assert.equal((await ask(path, `http://127.0.0.1:${port}/ws`, { headers })).status, 403);
    assert.equal((await ask(path, `http://origin.example:${port}/ws`, { headers })).status, 403);
  });
  it('reaches a host that is served here through the local edge, whose address needs no permission', async () => {
    const { path, meter } = await exit({ allow: [], served: 'w.sub.workers.localhost' });
    assert.equal(await outcome(path, 'http://w.sub.workers.localhost/'), '200 hello from w.sub.workers.localhost');
    assert.equal(await outcome(path, 'http://other.sub.workers.localhost/'), '530 error code: 1016');
    assert.deepEqual([meter.subrequests, meter.bytesOut, meter.bytesIn], [2, 0, 0], 'what stays here is not counted');
  });
  it('ends a loop that no header tells: too many subrequests to this machine itself at once', async () => {
    let open = 0;
    const enterSelf = () => {
      if (open === 2) return null;
      open++;
      return () => open--;
    };
    const { path, meter } = await exit({ served: 'w.sub.workers.localhost', enterSelf });
    const slow = [1, 2].map(() => ask(path, 'http://w.sub.workers.localhost/slow'));
    while (open < 2) await new Promise((done) => setTimeout(done, 5));
    assert.equal(await outcome(path, 'http://w.sub.workers.localhost/'), '508 error code: 1019');
    const headers = { connection: 'Upgrade', upgrade: 'websocket' };
    assert.equal((await ask(path, 'http://w.sub.workers.localhost/ws', { headers })).status, 508);
    assert.equal(await outcome(path, `http://origin.example:${port}/`), `200 hello from origin.example:${port}`);
    await Promise.all(slow);
    assert.equal(await outcome(path, 'http://w.sub.workers.localhost/'), '200 hello from w.sub.workers.localhost');
    assert.equal(meter.refused, 2);
  });
  it('names what is wrong with an origin as Cloudflare does', async () => {
    const { path } = await exit();
    assert.equal(await outcome(path, 'http://unknown.example/'), '530 error code: 1016');
    assert.equal(await outcome(path, 'http://127.0.0.1:1/'), '521 error code: 521');
    assert.equal(await outcome(path, `http://origin.example:${port}/reset`), '520 error code: 520');
    assert.equal(await outcome(path, `http://origin.example:${port}/del`), '520 error code: 520');
    assert.equal(await outcome(path, `https://origin.example:${port}/`), '525 error code: 525');
  });
  it('says 524 when the origin does not begin its answer in time, over HTTP/1.1 and HTTP/2', async () => {
    const { cert, key } = await selfSigned('secure.example');
    const silent = createSecureServer({ cert, key }, () => undefined).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const { path } = await exit({ headersTimeoutMs: 50, ca: cert });
    assert.equal(await outcome(path, `http://origin.example:${port}/silent`), '524 error code: 524');
    const url = `https://secure.example:${(silent.address() as AddressInfo).port}/`;
    assert.equal(await outcome(path, url), '524 error code: 524');
    silent.close();
  });
  it('cuts the connection when the origin cuts a body, over HTTP/1.1 and HTTP/2', async () => {
    const { cert, key } = await selfSigned('secure.example');
    const cut = createSecureServer({ cert, key }).listen(0, '127.0.0.1');
    await once(cut, 'listening');
    cut.on('stream', (stream) => {
      stream.on('error', () => undefined);
      stream.respond({ ':status': 200, 'content-length': '100' });
      stream.write('part', () => stream.close(0));
    });
    const { path } = await exit({ ca: cert });
    await assert.rejects(ask(path, `http://origin.example:${port}/cut`));
    await assert.rejects(ask(path, `https://secure.example:${(cut.address() as AddressInfo).port}/`));
    cut.close();
  });
  it('refuses the names that a Worker looks up a second time and that have become private', async () => {
    const { path } = await exit();
    assert.equal(await outcome(path, `http://origin.example:${port}/`), `200 hello from origin.example:${port}`);
    origin.closeAllConnections();
    names.become('origin.example', ['10.0.0.1']);
    try {
      assert.equal(await outcome(path, `http://origin.example:${port}/`), '403 error code: 1002');
    } finally {
      names.become('origin.example', ['127.0.0.1']);
    }
  });
  it('stops a loop of Workers', async () => {
    const { path } = await exit();
    const once = await ask(path, `http://origin.example:${port}/`, { headers: { 'cdn-loop': 'selvedge; loops=15' } });
    assert.equal(once.status, 200);
    const { status, body } = await ask(path, `http://origin.example:${port}/`, {
      headers: { 'cdn-loop': 'selvedge; loops=16' },
    });
    assert.deepEqual([status, String(body).split('\n')[0]], [508, 'error code: 1019']);
  });
  it('ends the connection above the subrequest budget, and says why', async () => {
    const { path, refusals } = await exit({ budget: createBudget(2) });
    const url = `http://origin.example:${port}/`;
    assert.equal((await ask(path, url)).status, 200);
    assert.equal((await ask(path, url)).status, 200);
    await assert.rejects(ask(path, url), /socket hang up/);
    assert.deepEqual(refusals, ['Too many subrequests.']);
  });
  it('ends the connection for what is no http URL', async () => {
    const { path } = await exit();
    for (const url of ['/relative', 'ftp://origin.example/', 'file:///etc/passwd', 'http://']) {
      await assert.rejects(ask(path, url), url);
    }
  });
});
