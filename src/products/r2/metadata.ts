/** Metadata of objects as clients give it: checked, and kept within R2's limit. */
import type { HttpFields, ObjectMetadata, StorageClass } from './documents.ts';
import { R2, R2Error } from './limits.ts';

/** Field of HTTP -> where it is kept. */
export const HTTP_FIELDS = {
  'content-type': 'contentType',
  'content-language': 'contentLanguage',
  'content-disposition': 'contentDisposition',
  'content-encoding': 'contentEncoding',
  'cache-control': 'cacheControl',
} as const satisfies Record<string, keyof HttpFields>;

/** Throws R2Error MetadataTooLarge, InvalidArgument. */
export function checkMetadata(metadata: ObjectMetadata): ObjectMetadata {
  let bytes = 0;
  for (const [name, value] of metadata.custom) bytes += Buffer.byteLength(name) + Buffer.byteLength(value);
  if (bytes > R2.metadataBytes) {
    throw new R2Error('MetadataTooLarge', 'Your metadata headers exceed the maximum allowed metadata size.');
  }
  for (const value of Object.values(metadata.http)) {
    if (typeof value === 'string' && value.length > R2.metadataBytes) {
      throw new R2Error('MetadataTooLarge', 'Your metadata headers exceed the maximum allowed metadata size.');
    }
  }
  return metadata;
}

/** `given`: Standard, InfrequentAccess, or S3's name of either. Throws R2Error InvalidArgument. */
export function storageClassOf(given: string | undefined, usual: StorageClass): StorageClass {
  if (given === undefined || given === '') return usual;
  const name = given.toUpperCase().replaceAll('_', '');
  if (name === 'STANDARD') return 'Standard';
  if (name === 'INFREQUENTACCESS' || name === 'STANDARDIA') return 'InfrequentAccess';
  throw new R2Error('InvalidArgument', `The storage class "${given.slice(0, 64)}" is not valid.`);
}

/** The fields of HTTP in a request's (or a stored answer's) header section. Unknown dates are left out. */
export function httpFieldsOf(headers: Record<string, string | string[] | undefined>): HttpFields {
  const fields: HttpFields = {};
  for (const [name, field] of Object.entries(HTTP_FIELDS)) {
    const value = headers[name];
    if (typeof value === 'string' && value !== '') fields[field] = value;
  }
  const expires = typeof headers.expires === 'string' ? Date.parse(headers.expires) : Number.NaN;
  if (!Number.isNaN(expires)) fields.cacheExpiry = expires;
  return fields;
}

/** The other way. Values that cannot stand in a header section are left out. */
export function headersOf(http: HttpFields): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [name, field] of Object.entries(HTTP_FIELDS)) {
    const value = http[field];
    if (value !== undefined && isFieldValue(value)) headers[name] = Buffer.from(value).toString('latin1');
  }
  if (http.cacheExpiry !== undefined) headers.expires = new Date(http.cacheExpiry).toUTCString();
  return headers;
}

/** RFC 9110 section 5.5: no control characters but the tab. */
export function isFieldValue(value: string): boolean {
  for (let i = 0; i < value.length; i++) {
    const code = value.charCodeAt(i);
    if ((code < 32 && code !== 9) || code === 127) return false;
  }
  return true;
}
