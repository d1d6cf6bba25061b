import 'reflect-metadata';
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { BasicConstraintsExtension, SubjectAlternativeNameExtension, X509CertificateGenerator } from '@peculiar/x509';
import { request } from 'undici';
import { createAddresses } from './addresses.ts';
import { createOrigin, type LocalEdge, type Origin } from './origin.ts';
import { toOriginError } from './origin-errors.ts';

/** A self-signed certificate for the name, in PEM. */
async function selfSigned(name: string): Promise<{ cert: string; key: string }> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: `CN=${name}`,
    keys,
    signingAlgorithm: algorithm,
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + 3600_000),
    extensions: [
      new SubjectAlternativeNameExtension([{ type: 'dns', value: name }]),
      new BasicConstraintsExtension(true),
    ],
  });
  const pkcs8 = Buffer.from(await crypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
  return {
    cert: certificate.toString('pem'),
    key: `-----BEGIN PRIVATE KEY-----\n${pkcs8}\n-----END PRIVATE KEY-----\n`,
  };
}

describe('origins with TLS', () => {
  let server: Server;
  let port: number;
  let trusting: Origin;
  let strict: Origin;
  const names: (string | false)[] = [];
  const addresses = createAddresses(['127.0.0.1'], (_name, _options, callback) =>
    callback(null, [{ address: '127.0.0.1', family: 4 }]),
  );

  before(async () => {
    const { cert, key } = await selfSigned('secure.example');
    server = createServer({ cert, key }, (req, res) => {
      names.push((req.socket as { servername?: string | false }).servername ?? false);
      res.end(`hello ${req.headers.host}`);
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    port = (server.address() as AddressInfo).port;
    const edge: LocalEdge = {
      address: '127.0.0.1',
      httpPort: 1,
      httpsPort: port,
      isServedHere: (name) => name === 'w.sub.workers.localhost',
    };
    trusting = createOrigin(addresses, edge, cert);
    strict = createOrigin(addresses, edge);
  });
  after(async () => {
    await trusting.close();
    await strict.close();
    server.closeAllConnections();
    server.close();
  });

  const get = async (origin: Origin, url: string) => (await request(url, { dispatcher: origin.agent })).body.text();

  it('are reached by their name, whose certificate is checked', async () => {
    assert.equal(await get(trusting, `https://secure.example:${port}/`), `hello secure.example:${port}`);
    assert.equal(names.at(-1), 'secure.example');
  });
  it('are refused as 526 when the certificate is not trusted or of another name', async () => {
    for (const [origin, url] of [
      [strict, `https://secure.example:${port}/`],
      [trusting, `https://other.example:${port}/`],
    ] as const) {
      const error = await get(origin, url).catch((error: unknown) => error);
      assert.equal(toOriginError(error, 'x').status, 526, String(error));
    }
  });
  it('are reached by upgrades with the same check', async () => {
    const good = trusting.open(new URL(`https://secure.example:${port}/`));
    await once(good, 'secureConnect');
    good.destroy();
    const [error] = await once(trusting.open(new URL(`https://other.example:${port}/`)), 'error').catch((e) => [e]);
    assert.equal(toOriginError(error, 'x').status, 526);
  });
  it('that are this machine itself need no certificate that others trust', async () => {
    assert.equal(await get(strict, 'https://w.sub.workers.localhost/'), 'hello w.sub.workers.localhost');
    assert.equal(names.at(-1), 'w.sub.workers.localhost');
  });
});
