/** Conditions of reads and writes: those of bindings (R2Conditional of the runtime), which HTTP's are turned into (RFC 9110 section 13). */
import type { StoredObject } from './documents.ts';
import { R2Error } from './limits.ts';

export interface EtagMatch {
  /** Without quotes; '' of a wildcard. */
  value: string;
  type: 'strong' | 'weak' | 'wildcard';
}

export interface Conditions {
  etagMatches?: EtagMatch[];
  etagDoesNotMatch?: EtagMatch[];
  /** ms since 1970. */
  uploadedBefore?: number;
  uploadedAfter?: number;
  /** The times were given in whole seconds, so the object's is cut to seconds too. */
  secondsGranularity?: boolean;
}

/**
 * What the conditions say of an object (null: there is none): 'ok'; 'failed' if it is not what was asked for (412); 'unchanged' if it is what
 * the asker has already (304 of a read). As in RFC 9110 section 13.2.2 an ETag goes before a time.
 */
export function evaluate(
  conditions: Conditions | undefined,
  object: StoredObject | null,
): 'ok' | 'failed' | 'unchanged' {
  if (!conditions) return 'ok';
  const { etagMatches, etagDoesNotMatch, uploadedBefore, uploadedAfter, secondsGranularity } = conditions;
  if (!object) return etagMatches || uploadedAfter !== undefined ? 'failed' : 'ok';
  const uploaded = secondsGranularity ? Math.floor(object.uploaded / 1000) * 1000 : object.uploaded;
  if (etagMatches) {
    // Compared strongly (RFC 9110 section 13.1.1): a weak ETag is of something like it.
    const strong = etagMatches.filter(({ type }) => type !== 'weak');
    if (!matches(strong, object.etag)) return 'failed';
  } else if (uploadedBefore !== undefined && !isBefore(uploaded, uploadedBefore, secondsGranularity)) return 'failed';
  if (etagDoesNotMatch) {
    if (matches(etagDoesNotMatch, object.etag)) return 'unchanged';
  } else if (uploadedAfter !== undefined && uploaded <= uploadedAfter) return 'unchanged';
  return 'ok';
}

/** If-Unmodified-Since holds in the second itself; `uploadedBefore` of a binding is a moment, and means before. */
function isBefore(uploaded: number, moment: number, seconds: boolean | undefined): boolean {
  return seconds ? uploaded <= moment : uploaded < moment;
}

function matches(wanted: EtagMatch[], etag: string): boolean {
  return wanted.some(({ value, type }) => type === 'wildcard' || value === etag);
}

/** The conditions in the fields of an HTTP request; undefined if there are none. `prefix`: "x-amz-copy-source-" of a copy's source. */
export function conditionsOf(
  headers: Record<string, string | string[] | undefined>,
  prefix = '',
): Conditions | undefined {
  const field = (name: string) => {
    const value = headers[prefix + name];
    return typeof value === 'string' ? value : undefined;
  };
  const conditions: Conditions = {};
  const match = field('if-match');
  if (match !== undefined) conditions.etagMatches = parseEtags(match);
  const noneMatch = field('if-none-match');
  if (noneMatch !== undefined) conditions.etagDoesNotMatch = parseEtags(noneMatch);
  const before = dateOf(field('if-unmodified-since'));
  if (before !== undefined) conditions.uploadedBefore = before;
  const after = dateOf(field('if-modified-since'));
  if (after !== undefined) conditions.uploadedAfter = after;
  if (Object.keys(conditions).length === 0) return undefined;
  return { ...conditions, secondsGranularity: true };
}

/** A list of entity tags (RFC 9110 section 8.8.3); S3 clients leave the quotes out, too. */
function parseEtags(text: string): EtagMatch[] {
  if (text.trim() === '*') return [{ value: '', type: 'wildcard' }];
  return text.split(',').map((part) => {
    const [, weak, quoted, bare] = /^\s*(W\/)?(?:"([^"]*)"|([^"\s]*))\s*$/.exec(part) ?? [];
    const value = quoted ?? bare;
    if (!value) throw new R2Error('InvalidArgument', `"${text.slice(0, 100)}" is no list of ETags.`);
    return { value, type: weak ? 'weak' : 'strong' };
  });
}

/** A recipient ignores what is no date (RFC 9110 section 13.1.3). */
function dateOf(text: string | undefined): number | undefined {
  const time = text === undefined ? Number.NaN : Date.parse(text);
  return Number.isNaN(time) ? undefined : time;
}
