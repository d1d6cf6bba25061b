/**
 * The vault seals secrets at rest: AES-256-GCM under one key in a file of mode 0600. A seal is "v1." and base64url of nonce (12 bytes),
 * tag (16 bytes) and ciphertext (NIST SP 800-38D).
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { DamagedState } from './damaged.ts';
import { writePrivate } from './private-file.ts';

const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const PREFIX = 'v1.';

export interface Vault {
  seal(text: string): string;
  /** Throws if the seal was made with another key or changed. */
  unseal(sealed: string): string;
  sealBytes(bytes: Uint8Array): Buffer;
  unsealBytes(sealed: Uint8Array): Buffer;
}

/** Opens the vault, making its key at first use (by `selvedge up`, before it starts other processes). Throws DamagedState if the key file holds no key. */
export function openVault(keyPath: string): Vault {
  const key = readOrCreateKey(keyPath);

  function sealBytes(bytes: Uint8Array): Buffer {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv('aes-256-gcm', key, nonce);
    const body = Buffer.concat([cipher.update(bytes), cipher.final()]);
    return Buffer.concat([nonce, cipher.getAuthTag(), body]);
  }

  function unsealBytes(sealed: Uint8Array): Buffer {
    const bytes = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.byteLength);
    if (bytes.length < NONCE_BYTES + TAG_BYTES) throw new Error('a sealed value is too short to be one');
    const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, NONCE_BYTES));
    decipher.setAuthTag(bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES));
    try {
      return Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES + TAG_BYTES)), decipher.final()]);
    } catch {
      throw new Error(
        `a sealed value does not open with the key in ${keyPath}: it was made with another key or changed`,
      );
    }
  }

  return {
    sealBytes,
    unsealBytes,
    seal: (text) => PREFIX + sealBytes(Buffer.from(text)).toString('base64url'),
    unseal(sealed) {
      if (!sealed.startsWith(PREFIX)) throw new Error('a sealed value has an unknown format');
      return unsealBytes(Buffer.from(sealed.slice(PREFIX.length), 'base64url')).toString();
    },
  };
}

function readOrCreateKey(path: string): Buffer {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    text = `${randomBytes(32).toString('hex')}\n`;
    writePrivate(path, text);
  }
  if (!/^[0-9a-f]{64}\n?$/.test(text)) throw new DamagedState(path, 'it does not hold 64 hex digits');
  return Buffer.from(text.trim(), 'hex');
}
