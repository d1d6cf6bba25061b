/** For tests of this folder: certificates, a connector to loopback, and destinations. */
import 'reflect-metadata';
import { BasicConstraintsExtension, SubjectAlternativeNameExtension, X509CertificateGenerator } from '@peculiar/x509';
import type { Resolve } from './addresses.ts';
import type { Destination } from './destination.ts';

/** A self-signed certificate for the name, in PEM. */
export async function selfSigned(name: string): Promise<{ cert: string; key: string }> {
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

/** A resolver that knows these names (address lists, or what gives one with each call) and no others; counts its calls. */
export function resolver(
  names: Record<string, string[] | (() => string[])>,
): Resolve & { calls: number; become(name: string, addresses: string[]): void } {
  const resolve = (...[hostname, , callback]: Parameters<Resolve>) => {
    resolve.calls++;
    const known = names[hostname];
    if (!known) {
      callback(Object.assign(new Error(`no ${hostname}`), { code: 'ENOTFOUND' }), []);
      return;
    }
    const list = typeof known === 'function' ? known() : known;
    callback(
      null,
      list.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
    );
  };
  resolve.calls = 0;
  resolve.become = (name: string, addresses: string[]) => {
    names[name] = addresses;
  };
  return resolve;
}

/** Where a URL leads by DNS. */
export function to(url: string, over: Partial<Destination> = {}): Destination {
  const { protocol, hostname, port, host } = new URL(url);
  const secure = protocol === 'https:';
  return {
    local: false,
    secure,
    host: hostname.replace(/^\[|\]$/g, ''),
    port: Number(port) || (secure ? 443 : 80),
    servername: hostname,
    authority: host,
    refuseSelf: false,
    ...over,
  };
}
