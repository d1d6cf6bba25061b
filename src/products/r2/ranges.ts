/** Which bytes of an object are asked for: by a binding, or by the field Range (RFC 9110 section 14). */
import { R2Error } from './limits.ts';

/** Both ends inclusive. */
export interface ByteRange {
  start: number;
  end: number;
}

/** What a binding asks for; each is undefined if it was not given. */
export interface Asked {
  offset?: number;
  length?: number;
  suffix?: number;
}

/** Null for the whole object. Throws R2Error InvalidRange. */
export function rangeOf(asked: Asked | undefined, size: number): ByteRange | null {
  if (!asked) return null;
  const { offset, length, suffix } = asked;
  if (suffix !== undefined) {
    if (!(suffix > 0)) throw unsatisfiable();
    return size === 0 ? null : { start: Math.max(0, size - suffix), end: size - 1 };
  }
  if (offset === undefined && length === undefined) return null;
  const start = offset ?? 0;
  if (start >= size || (length !== undefined && !(length > 0))) throw unsatisfiable();
  return { start, end: Math.min(size, start + (length ?? size)) - 1 };
}

/**
 * One range of the field Range; null for the whole object, also where the field is not of the form, or asks for several: a server may ignore
 * it (RFC 9110 section 14.2). Throws R2Error InvalidRange.
 */
export function parseRange(field: string | undefined, size: number): ByteRange | null {
  const match = /^\s*bytes\s*=\s*(\d{0,16})\s*-\s*(\d{0,16})\s*$/i.exec(field ?? '');
  if (!match || (match[1] === '' && match[2] === '')) return null;
  const [, first, last] = match as unknown as [string, string, string];
  if (first === '') return rangeOf({ suffix: Number(last) }, size);
  const start = Number(first);
  if (last === '') return rangeOf({ offset: start }, size);
  return Number(last) < start ? null : rangeOf({ offset: start, length: Number(last) - start + 1 }, size);
}

function unsatisfiable(): R2Error {
  return new R2Error('InvalidRange', 'The requested range is not satisfiable.');
}
