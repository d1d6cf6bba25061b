/**
 * Certificates that the operator has, from PEM files. Files that changed are read anew (a renewal), and one that is wrong is reported and
 * the one before kept.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { log, reason } from '../model/log.ts';

const LOOK_MS = 10_000;

interface Loaded {
  paths: { cert: string; key: string };
  cert: string;
  key: string;
  leaf: X509Certificate;
  stamp: string;
}

export interface OperatorCertificates {
  /** The certificate that names this host, exact names before wildcards; null if none does. */
  find(serverName: string): { cert: string; key: string } | null;
}

/** Reads all files. Throws one sentence that names the file and what is wrong. */
export function openOperatorCertificates(files: { cert: string; key: string }[]): OperatorCertificates {
  const loaded = files.map(load);
  let lookedAt = Date.now();

  function renew(): void {
    if (Date.now() - lookedAt < LOOK_MS) return;
    lookedAt = Date.now();
    for (const [index, { paths, stamp: before }] of loaded.entries()) {
      try {
        if (stamp(paths) !== before) loaded[index] = load(paths);
      } catch (error) {
        log('error', 'a certificate could not be read anew', { path: paths.cert, error: reason(error) });
      }
    }
  }

  return {
    find(serverName) {
      renew();
      const matching = loaded.filter(({ leaf }) => leaf.checkHost(serverName) !== undefined);
      const best = matching.find(({ leaf }) => leaf.checkHost(serverName) === serverName) ?? matching[0];
      return best ? { cert: best.cert, key: best.key } : null;
    },
  };
}

function load(paths: { cert: string; key: string }): Loaded {
  let loading = paths.cert;
  try {
    const seen = stamp(paths);
    const cert = readFileSync(paths.cert, 'utf8');
    const leaf = new X509Certificate(cert);
    loading = paths.key;
    const key = readFileSync(paths.key, 'utf8');
    if (!leaf.checkPrivateKey(createPrivateKey(key))) throw new Error(`it is not the key of ${paths.cert}`);
    return { paths, cert, key, leaf, stamp: seen };
  } catch (error) {
    throw new Error(`the certificate file ${loading} cannot be used: ${reason(error)}`);
  }
}

function stamp({ cert, key }: { cert: string; key: string }): string {
  return [cert, key].map((path) => statSync(path).mtimeMs).join();
}
