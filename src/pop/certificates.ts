/**
 * The local certificate authority: made at first start, signs a certificate for each host that is served. Its root can be exported
 * (`selvedge ca`) and trusted by browsers of the house. Profile: RFC 5280; leaf certificates live at most 397 days, as browsers demand.
 */
import 'reflect-metadata';
import { createHash, randomBytes, webcrypto } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as x509 from '@peculiar/x509';
import { layout } from '../model/layout.ts';
import { log, reason } from '../model/log.ts';
import { DamagedState } from '../state/damaged.ts';
import { writePrivate } from '../state/private-file.ts';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const DAY_MS = 86_400_000;
const CA_DAYS = 3650;
const LEAF_DAYS = 90;
const RENEW_DAYS = 30;
/** The others are on disk. */
const MAX_IN_MEMORY = 10_000;
/** Clocks of clients may be behind. */
const BACKDATE_MS = 3_600_000;

export interface Certificates {
  /** PEM of the root. */
  readonly caPem: string;
  /** PEM of a certificate for a host name, with its key. The same one until it has to be renewed. Throws TypeError for what is no host name. */
  issue(serverName: string): Promise<{ cert: string; key: string }>;
}

interface Issued {
  cert: string;
  key: string;
  notAfter: number;
}

/**
 * Opens or makes the authority of a data directory. `perMinute`: certificates that may be made for new names; names below a wildcard route are
 * for anybody to invent. Throws DamagedState.
 */
export async function openCertificates(dataDir: string, perMinute = Number.POSITIVE_INFINITY): Promise<Certificates> {
  const paths = layout(dataDir);
  mkdirSync(paths.hostCertificates, { recursive: true, mode: 0o700 });
  if (!existsSync(paths.caCertificate)) await makeAuthority(paths.caCertificate, paths.caKey);
  let caPem: string;
  let authority: x509.X509Certificate;
  let signingKey: webcrypto.CryptoKey;
  try {
    caPem = readFileSync(paths.caCertificate, 'utf8');
    const caKeyPem = readFileSync(paths.caKey, 'utf8');
    authority = new x509.X509Certificate(caPem);
    signingKey = await importKey(caKeyPem);
  } catch (error) {
    throw new DamagedState(paths.tls, reason(error));
  }
  const issued = new Map<string, Promise<Issued>>();
  let windowAt = 0;
  let made = 0;

  /** Throws if too many were made in this minute. */
  function count(serverName: string): void {
    const now = Date.now();
    if (now - windowAt >= 60_000) {
      windowAt = now;
      made = 0;
    }
    if (++made > perMinute) throw new Error(`no certificate for ${serverName}: ${perMinute} were made in this minute`);
  }

  async function issue(serverName: string): Promise<Issued> {
    const path = join(paths.hostCertificates, fileName(serverName));
    const kept = readIssued(path);
    // A certificate of an earlier authority is of no use.
    if (kept && isFresh(kept) && kept.cert.endsWith(authority.toString('pem').trim())) return kept;
    count(serverName);
    const leaf = await makeLeaf(serverName, authority, signingKey);
    writePrivate(path, JSON.stringify(leaf));
    return leaf;
  }

  return {
    caPem,
    async issue(serverName) {
      // It becomes a file name and part of a certificate.
      if (
        !/^(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(serverName)
      ) {
        throw new TypeError(`not a host name: ${JSON.stringify(serverName)}`);
      }
      let known = issued.get(serverName);
      if (known && !isFresh(await known)) known = undefined;
      if (!known) {
        known = issue(serverName);
        issued.set(serverName, known);
        known.catch(() => issued.delete(serverName));
        if (issued.size > MAX_IN_MEMORY) issued.delete(issued.keys().next().value!);
      }
      const { cert, key } = await known;
      return { cert, key };
    },
  };
}

/** A host name may be longer than a file name may be. */
function fileName(serverName: string): string {
  return `${serverName.length <= 200 ? serverName : createHash('sha256').update(serverName).digest('hex')}.json`;
}

/** A certificate of the disk's cache; null if there is none or it cannot be read. */
function readIssued(path: string): Issued | null {
  if (!existsSync(path)) return null;
  try {
    const { cert, key, notAfter } = JSON.parse(readFileSync(path, 'utf8')) as Issued;
    if (typeof cert === 'string' && typeof key === 'string' && typeof notAfter === 'number')
      return { cert, key, notAfter };
    throw new TypeError('it is not a certificate with its key');
  } catch (error) {
    log('warn', 'a kept certificate is made anew', { path, error: reason(error) });
    return null;
  }
}

function isFresh({ notAfter }: Issued): boolean {
  return notAfter - Date.now() > RENEW_DAYS * DAY_MS;
}

async function makeAuthority(certificatePath: string, keyPath: string): Promise<void> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serial(),
    name: `CN=Selvedge local CA ${randomBytes(4).toString('hex')}`,
    notBefore: new Date(Date.now() - BACKDATE_MS),
    notAfter: new Date(Date.now() + CA_DAYS * DAY_MS),
    keys,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  // The certificate last: it says that the authority is complete.
  writePrivate(keyPath, await exportKey(keys.privateKey));
  writePrivate(certificatePath, `${certificate.toString('pem')}\n`);
}

async function makeLeaf(
  serverName: string,
  authority: x509.X509Certificate,
  signingKey: webcrypto.CryptoKey,
): Promise<Issued> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const notAfter = Date.now() + LEAF_DAYS * DAY_MS;
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serial(),
    // The name is in the SAN; a common name is bounded to 64 characters.
    subject: serverName.length <= 64 ? `CN=${serverName}` : 'CN=selvedge',
    issuer: authority.subject,
    notBefore: new Date(Date.now() - BACKDATE_MS),
    notAfter: new Date(notAfter),
    publicKey: keys.publicKey,
    signingKey,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: serverName }]),
      await x509.AuthorityKeyIdentifierExtension.create(authority.publicKey),
    ],
  });
  const cert = `${certificate.toString('pem')}\n${authority.toString('pem').trim()}`;
  return { cert, key: await exportKey(keys.privateKey), notAfter };
}

/** Positive, 128 random bits. */
function serial(): string {
  return `01${randomBytes(15).toString('hex')}`;
}

async function exportKey(key: webcrypto.CryptoKey): Promise<string> {
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key));
  return `${x509.PemConverter.encode(der, 'PRIVATE KEY')}\n`;
}

function importKey(pem: string): Promise<webcrypto.CryptoKey> {
  const der = x509.PemConverter.decodeFirst(pem);
  return webcrypto.subtle.importKey('pkcs8', der, ALGORITHM, false, ['sign']);
}
