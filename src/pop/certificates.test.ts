import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, request } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { layout } from '../model/layout.ts';
import { DamagedState } from '../state/damaged.ts';
import { openCertificates } from './certificates.ts';
import { openOperatorCertificates } from './operator-certificates.ts';

const directory = mkdtempSync(join(tmpdir(), 'selvedge-ca-'));
after(() => rmSync(directory, { recursive: true }));

describe('the local certificate authority', async () => {
  const certificates = await openCertificates(directory);

  it('signs what a client that trusts its root accepts, for that host only', async () => {
    const server = createServer(await certificates.issue('shop.edge.workers.localhost'), (_request, response) =>
      response.end('ok'),
    );
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const ask = (servername: string) =>
      new Promise<number>((resolve, reject) => {
        const options = {
          host: '127.0.0.1',
          port,
          servername,
          headers: { host: servername },
          ca: certificates.caPem,
          agent: false,
        };
        request(options, (response) => resolve(response.resume().statusCode ?? 0))
          .on('error', reject)
          .end();
      });
    assert.equal(await ask('shop.edge.workers.localhost'), 200);
    await assert.rejects(ask('other.edge.workers.localhost'), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
    server.close();
  });

  it('gives the same certificate again, also after a restart', async () => {
    const first = await certificates.issue('a.example');
    const reopened = await openCertificates(directory);
    assert.deepEqual(await reopened.issue('a.example'), first);
    assert.equal(reopened.caPem, certificates.caPem);
  });

  it('makes a kept certificate anew that is damaged or of an earlier authority', async () => {
    const kept = (name: string) => join(layout(directory).hostCertificates, `${name}.json`);
    const other = mkdtempSync(join(tmpdir(), 'selvedge-ca-'));
    const foreign = await (await openCertificates(other)).issue('b.example');
    writeFileSync(kept('damaged.example'), '{"cert":');
    writeFileSync(kept('b.example'), JSON.stringify({ ...foreign, notAfter: Date.now() + 80 * 86_400_000 }));
    const reopened = await openCertificates(directory);
    assert.match((await reopened.issue('damaged.example')).cert, /BEGIN CERTIFICATE/);
    assert.notEqual((await reopened.issue('b.example')).cert, foreign.cert);
    rmSync(other, { recursive: true });
  });

  it('takes host names as long as DNS allows', async () => {
    const name = `${'a.'.repeat(126)}a`;
    assert.equal(name.length, 253);
    assert.match((await certificates.issue(name)).cert, /BEGIN CERTIFICATE/);
  });

  it('keeps its keys to its owner', () => assert.equal(statSync(layout(directory).caKey).mode & 0o777, 0o600));

  for (const name of [
    '',
    '../../evil',
    'a b',
    'a..b',
    '-a.example',
    'x'.repeat(64),
    `${'a.'.repeat(127)}aa`,
    'A.example',
  ]) {
    it(`refuses ${JSON.stringify(name.slice(0, 20))} as a host`, () =>
      assert.rejects(certificates.issue(name), TypeError));
  }

  it('refuses a damaged key', async () => {
    const other = mkdtempSync(join(tmpdir(), 'selvedge-ca-'));
    await openCertificates(other);
    writeFileSync(layout(other).caKey, readFileSync(layout(other).caKey, 'utf8').slice(0, 60));
    await assert.rejects(openCertificates(other), DamagedState);
    rmSync(other, { recursive: true });
  });
});

it('makes a bounded number of certificates a minute for new names', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'selvedge-throttle-'));
  try {
    const bounded = await openCertificates(directory, 2);
    const first = await bounded.issue('a.example.com');
    await bounded.issue('b.example.com');
    await assert.rejects(bounded.issue('c.example.com'), /no certificate for c\.example\.com: 2 were made/);
    assert.deepEqual(await bounded.issue('a.example.com'), first);
  } finally {
    await rm(directory, { recursive: true });
  }
});

it("takes the operator's certificate for the hosts that it names, exact names first, and sees a renewal", async () => {
  const directory = await mkdtemp(join(tmpdir(), 'selvedge-operator-'));
  try {
    const { issue } = await openCertificates(directory);
    const put = async (name: string) => {
      const { cert, key } = await issue(name);
      const paths = { cert: join(directory, `${name}.pem`), key: join(directory, `${name}.key`) };
      await writeFile(paths.cert, cert);
      await writeFile(paths.key, key);
      return { paths, cert };
    };
    const shop = await put('shop.example.com');
    const blog = await put('blog.example.com');
    const certificates = openOperatorCertificates([shop.paths, blog.paths]);
    assert.equal(certificates.find('blog.example.com')?.cert, blog.cert);
    assert.equal(certificates.find('other.example.com'), null);
    assert.throws(
      () => openOperatorCertificates([{ cert: shop.paths.cert, key: blog.paths.key }]),
      /blog\.example\.com\.key cannot be used: it is not the key of/,
    );
    assert.throws(() => openOperatorCertificates([{ cert: '/absent.pem', key: '/absent.key' }]), /absent\.pem/);
  } finally {
    await rm(directory, { recursive: true });
  }
});
