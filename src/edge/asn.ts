/**
 * Which network an address is of: autonomous system number and organisation, from sorted CSV files of an npm package (RouteViews and
 * DB-IP data, CC BY 4.0; there is no package of it in MMDB form). A file is kept as its bytes and searched by halves: nothing is parsed
 * but the few lines that a search passes.
 */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { isIPv6 } from 'node:net';

export interface Network {
  asn?: number;
  asOrganization?: string;
}

const NEWLINE = 10;
const COMMA = 44;
const UNKNOWN: Network = {};
const files = new Map<4 | 6, Promise<Buffer>>();

/** The network of an address; the first call of a family reads its file (20 and 11 MB). */
export async function networkOf(address: string): Promise<Network> {
  const family = isIPv6(address) ? 6 : 4;
  let file = files.get(family);
  if (!file) {
    file = readFile(createRequire(import.meta.url).resolve(`@ip-location-db/asn/asn-ipv${family}-num.csv`));
    files.set(family, file);
    // Read again at the next call: the file may have been in the middle of an update.
    file.catch(() => files.delete(family));
  }
  return search(await file, toNumber(address));
}

/** Finds the line `start,end,asn,organisation` whose range holds the number; lines are sorted by their start. */
export function search(csv: Buffer, number: bigint): Network {
  let low = 0;
  let high = csv.length;
  // Invariant: the line is at or behind `low`, if there is one, and begins before `high`.
  while (low < high) {
    const middle = lineStart(csv, (low + high) >> 1, low);
    const firstComma = csv.indexOf(COMMA, middle);
    if (firstComma < 0) break;
    const secondComma = csv.indexOf(COMMA, firstComma + 1);
    if (number < BigInt(csv.toString('latin1', middle, firstComma))) {
      high = middle;
      continue;
    }
    if (number <= BigInt(csv.toString('latin1', firstComma + 1, secondComma))) return network(csv, secondComma + 1);
    const next = csv.indexOf(NEWLINE, secondComma);
    low = next < 0 ? csv.length : next + 1;
  }
  return UNKNOWN;
}

/** Start of the line that `position` is in, not before `low`. */
function lineStart(csv: Buffer, position: number, low: number): number {
  // A position on a line's end belongs to that line.
  const before = position > 0 ? csv.lastIndexOf(NEWLINE, position - 1) : -1;
  return Math.max(low, before + 1);
}

function network(csv: Buffer, start: number): Network {
  const end = csv.indexOf(NEWLINE, start);
  const [, asn, organisation = ''] =
    /^(\d+),?(.*?)\r?$/.exec(csv.toString('utf8', start, end < 0 ? csv.length : end)) ?? [];
  if (!asn) return UNKNOWN;
  // RFC 4180: a field with a comma is quoted, a quote in it doubled.
  const name = organisation.startsWith('"') ? organisation.slice(1, -1).replaceAll('""', '"') : organisation;
  return name ? { asn: Number(asn), asOrganization: name } : { asn: Number(asn) };
}

/** An address that `net.isIP` accepts, as a number. */
export function toNumber(address: string): bigint {
  if (!isIPv6(address)) return address.split('.').reduce((sum, part) => (sum << 8n) | BigInt(part), 0n);
  // The URL parser writes every form of an address the same way: hex groups, and the longest run of zeros as "::".
  const [left = '', right] = new URL(`http://[${address.split('%')[0]}]`).hostname.slice(1, -1).split('::');
  const groups = (text: string) => (text === '' ? [] : text.split(':'));
  const head = groups(left);
  const tail = groups(right ?? '');
  const zeros = Array.from({ length: 8 - head.length - tail.length }, () => '0');
  return [...head, ...zeros, ...tail].reduce((sum, group) => (sum << 16n) | BigInt(`0x${group}`), 0n);
}
