/** Conditional and range requests for files with a strong ETag (RFC 9110 sections 13 and 14). */

/** True if the client has it: any of its tags is ours, weakly compared (section 13.1.2), or "*". */
export function matchesNone(ifNoneMatch: string, etag: string): boolean {
  if (ifNoneMatch === etag) return true;
  return ifNoneMatch.split(',').some((part) => {
    const tag = part.trim();
    return tag === '*' || (tag.startsWith('W/') ? tag.slice(2) : tag) === etag;
  });
}

export type RangeAnswer = { start: number; end: number } | 'unsatisfiable' | null;

/**
 * The one byte range that is asked for, both ends inclusive. Null: answer with the whole file (no range, another unit, several
 * ranges, a malformed one, or an `If-Range` that is not our ETag).
 */
export function byteRange(
  range: string | undefined,
  ifRange: string | undefined,
  etag: string,
  sizeBytes: number,
): RangeAnswer {
  if (range === undefined || (ifRange !== undefined && ifRange.trim() !== etag)) return null;
  const parts = /^bytes=\s*(\d{0,15})-(\d{0,15})\s*$/i.exec(range);
  if (!parts || (parts[1] === '' && parts[2] === '')) return null;
  if (parts[1] === '') {
    const length = Math.min(Number(parts[2]), sizeBytes);
    return length === 0 ? 'unsatisfiable' : { start: sizeBytes - length, end: sizeBytes - 1 };
  }
  const start = Number(parts[1]);
  const last = parts[2] === '' ? sizeBytes - 1 : Number(parts[2]);
  if (parts[2] !== '' && last < start) return null;
  return start >= sizeBytes ? 'unsatisfiable' : { start, end: Math.min(last, sizeBytes - 1) };
}
