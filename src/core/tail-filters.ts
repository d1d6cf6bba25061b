/**
 * Filters of tail sessions, as wrangler sends them: pure functions. An event passes a session if it passes all of its filters.
 * https://developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/tail/ and
 * https://developers.cloudflare.com/workers/wrangler/commands/#tail
 */
import { z } from 'zod';
import type { TailEvent } from '../model/messages.ts';

const MAX_VALUES = 32;
const word = z.string().min(1).max(1024);
const words = z.union([word.transform((value) => [value]), z.array(word).min(1).max(MAX_VALUES)]);

export const TailFilter = z.union([
  /** Share of events, between 0 and 1. */
  z.strictObject({ sampling_rate: z.number().min(0).max(1) }),
  z.strictObject({ outcome: words }),
  /** HTTP methods. */
  z.strictObject({ method: words }),
  /** Requests with this header and, if `query` is given, that text in its value. */
  z.strictObject({ header: z.strictObject({ key: word, query: z.string().max(1024).optional() }) }),
  /** Addresses of clients; "self" is the address that the session was made from. */
  z.strictObject({ client_ip: words }),
  /** Text in a log line. */
  z.strictObject({ query: word }),
  z.strictObject({ scriptVersion: word }),
]);
export type TailFilter = z.output<typeof TailFilter>;
export const TailFilters = z.array(TailFilter).max(MAX_VALUES);

/** "self" becomes the address of the session's maker. */
export function resolveSelf(filters: readonly TailFilter[], selfIp: string): TailFilter[] {
  return filters.map((filter) =>
    'client_ip' in filter ? { client_ip: filter.client_ip.map((ip) => (ip === 'self' ? selfIp : ip)) } : filter,
  );
}

/** Does the event pass all filters? `random`: 0 to 1, drawn once per event and session. */
export function passes(event: TailEvent, filters: readonly TailFilter[], random: number): boolean {
  return filters.every((filter) => passesOne(event, filter, random));
}

function passesOne(event: TailEvent, filter: TailFilter, random: number): boolean {
  if ('sampling_rate' in filter) return random < filter.sampling_rate;
  if ('outcome' in filter) return filter.outcome.includes(event.outcome);
  if ('scriptVersion' in filter) return event.scriptVersion.id === filter.scriptVersion;
  if ('query' in filter) return event.logs.some(({ message }) => messageText(message).includes(filter.query));
  const request = requestOf(event);
  if (!request) return false;
  if ('method' in filter) {
    return filter.method.some((method) => method.toUpperCase() === request.method.toUpperCase());
  }
  if ('client_ip' in filter) {
    const ip = request.headers.get('cf-connecting-ip');
    return ip !== undefined && filter.client_ip.includes(ip);
  }
  const value = request.headers.get(filter.header.key.toLowerCase());
  return value !== undefined && (filter.header.query === undefined || value.includes(filter.header.query));
}

function messageText(message: readonly unknown[]): string {
  return message.map((part) => (typeof part === 'string' ? part : (JSON.stringify(part) ?? ''))).join(' ');
}

/** Method and headers (names in lower case) of an HTTP event; null for others. */
function requestOf(event: TailEvent): { method: string; headers: Map<string, string> } | null {
  const request = event.event?.request as { method?: unknown; headers?: unknown } | undefined;
  if (typeof request?.method !== 'string') return null;
  const headers = new Map<string, string>();
  for (const [name, value] of Object.entries(request.headers ?? {})) headers.set(name.toLowerCase(), String(value));
  return { method: request.method, headers };
}
