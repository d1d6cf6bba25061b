/** For tests of this folder: certificates, names, destinations, and requests over a transport. */
import 'reflect-metadata';
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo, Server as TcpServer } from 'node:net';
import type { Readable } from 'node:stream';
import { BasicConstraintsExtension, SubjectAlternativeNameExtension, X509CertificateGenerator } from '@peculiar/x509';
import type { Resolve } from './addresses.ts';
import type { Destination } from './destination.ts';
import type { Outgoing } from './exchange.ts';
import type { Transport } from './transport.ts';

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

export interface Answer {
  status: number;
  message: string;
  raw: string[];
  body: Readable;
  isWhole: () => boolean;
}

export interface Asked {
  method?: string;
  path?: string;
  headers?: string[];
  /** Gets what the body is written to; without it there is none. */
  body?: (outgoing: Outgoing) => void;
}

/** The head of the answer; rejects with `{ error, repeatable }`. */
export function ask(transport: Transport, destination: Destination, asked: Asked = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { method = 'GET', path = '/', headers = [], body } = asked;
    transport.send(
      destination,
      { method, path, headers, hasBody: body !== undefined },
      {
        onSending: (outgoing) => body?.(outgoing),
        onResponse(status, message, raw, body, isWhole) {
          // Whoever reads later has to say so: what nobody reads is thrown away when the stream closes.
          body.pause();
          resolve({ status, message, raw, body, isWhole });
        },
        onError: (error, repeatable) => reject({ error, repeatable }),
      },
      () => false,
    );
  });
}

/** The whole body; rejects if it broke off visibly. */
export function read(body: Readable): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    body.on('data', (chunk: Buffer) => {
      text += chunk;
    });
    body.once('end', () => resolve(text));
    body.once('error', reject);
    body.once('close', () => reject(new Error('closed before its end')));
    body.resume();
  });
}

/** For tests that write the body later. */
export function keeper() {
  let given: Outgoing | undefined;
  const keep = (outgoing: Outgoing) => {
    given = outgoing;
  };
  return { keep, kept: () => given! };
}

export const failure = (asked: Promise<unknown>) =>
  asked.then(
    () => assert.fail('it was answered'),
    (failed: { error: Error; repeatable: boolean }) => failed,
  );
export const bodyOf = async (asked: Promise<Answer>) => read((await asked).body);
export const values = (raw: string[], name: string) =>
  raw.filter((_, index) => index % 2 === 1 && raw[index - 1] === name);

/** Lets the server listen on a port of its own choice. */
export async function listening<S extends TcpServer>(server: S): Promise<{ server: S; port: number }> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, port: (server.address() as AddressInfo).port };
}
