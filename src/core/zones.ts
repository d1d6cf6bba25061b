/**
 * Zones: domains under management. A name belongs to one account, and so do all names below and above it: nobody can catch
 * the traffic of somebody else's host by a zone that overlaps.
 */
import { domainToASCII } from 'node:url';
import type { Account, Zone } from '../model/documents.ts';
import { keys } from '../model/keys.ts';
import { type Ledger, RevisionConflict } from '../state/ledger.ts';
import { newId } from './accounts.ts';
import { ApiError } from './errors.ts';

const DNS_NAME = /^(?=.{1,253}$)([a-z0-9_]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** Lower case, A-labels, no final dot; null if it is not a DNS name of at least two labels (or is an IP address). */
export function normalizeHostname(name: string): string | null {
  const ascii = domainToASCII(name.replace(/\.$/, '')).toLowerCase();
  if (!DNS_NAME.test(ascii) || /^\d+$/.test(ascii.slice(ascii.lastIndexOf('.') + 1))) return null;
  return ascii;
}

/** Whether `name` is `parent` or lies below it. Both normalized. */
export function isUnder(name: string, parent: string): boolean {
  return name === parent || name.endsWith(`.${parent}`);
}

/**
 * Makes a zone. Throws ApiError 1003 (no domain name, or under the workers domain), 1061 (exists, or lies under or above
 * another account's zone: the message does not say whose).
 */
export async function createZone(
  ledger: Ledger,
  input: { accountId: string; name: string },
  workersDomain = 'workers.localhost',
): Promise<Zone> {
  const name = normalizeHostname(input.name);
  if (!name) throw new ApiError(1003, `"${input.name}" is not a domain name.`);
  if (isUnder(name, workersDomain) || isUnder(workersDomain, name)) {
    throw new ApiError(1003, `${name} overlaps with the workers domain ${workersDomain}, which cannot be a zone.`);
  }
  if (!(await ledger.get<Account>(keys.account(input.accountId)))) {
    throw new ApiError(9109, `There is no account ${input.accountId}.`);
  }
  await refuseOverlap(ledger, name, input.accountId);
  const zone: Zone = { id: newId(), name, accountId: input.accountId, createdOn: new Date().toISOString() };
  let revision: number;
  try {
    revision = await ledger.put(keys.zone(name), zone, 0);
  } catch (error) {
    if (error instanceof RevisionConflict) throw new ApiError(1061, `${name} already exists.`);
    throw error;
  }
  try {
    // Again, after the write: of two overlapping zones made at the same moment at least one sees the other here.
    await refuseOverlap(ledger, name, input.accountId, zone.id);
  } catch (error) {
    await ledger.delete(keys.zone(name), revision);
    throw error;
  }
  return zone;
}

/** Zones of an account, or of all, by name. */
export async function listZones(ledger: Ledger, accountId?: string): Promise<Zone[]> {
  const zones = (await ledger.list<Zone>(keys.zones)).map((entry) => entry.value);
  return zones.filter((zone) => accountId === undefined || zone.accountId === accountId);
}

/** The closest zone that holds `hostname` (normalized), whoever has it; or null. */
export async function zoneHolding(ledger: Ledger, hostname: string): Promise<Zone | null> {
  for (let name = hostname; name.includes('.'); name = name.slice(name.indexOf('.') + 1)) {
    const zone = (await ledger.get<Zone>(keys.zone(name)))?.value;
    if (zone) return zone;
  }
  return null;
}

/** The closest zone of the account that holds `hostname` (normalized), or null. */
export async function zoneOfHostname(ledger: Ledger, accountId: string, hostname: string): Promise<Zone | null> {
  const zone = await zoneHolding(ledger, hostname);
  return zone?.accountId === accountId ? zone : null;
}

async function refuseOverlap(ledger: Ledger, name: string, accountId: string, except?: string): Promise<void> {
  for (const zone of await listZones(ledger)) {
    if (zone.id === except) continue;
    if (zone.name === name) throw new ApiError(1061, `${name} already exists.`);
    if (zone.accountId !== accountId && (isUnder(name, zone.name) || isUnder(zone.name, name))) {
      throw new ApiError(1061, `${name} overlaps with a zone of another account.`);
    }
  }
}
