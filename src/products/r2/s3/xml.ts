/** XML as S3 writes it: small documents without attributes that matter, and without a document type: that is where bombs are. */
import { XMLBuilder, XMLParser, XMLValidator } from 'fast-xml-parser';
import { z } from 'zod';
import { R2Error } from '../limits.ts';

export const S3_NAMESPACE = 'http://s3.amazonaws.com/doc/2006-03-01/';
const MAX_DEPTH = 20;

const parser = new XMLParser({
  // Names and keys that look like numbers stay texts.
  parseTagValue: false,
  ignoreAttributes: true,
  trimValues: false,
  processEntities: true,
  // Characters by number, too: so clients write line ends and quotes in keys.
  htmlEntities: true,
  removeNSPrefix: true,
});
const builder = new XMLBuilder({ suppressEmptyNode: false });

/** An element that may be there once, many times or not at all. */
export const many = <T extends z.ZodType>(item: T) =>
  z.preprocess(
    (value) => (value === undefined || value === '' ? [] : Array.isArray(value) ? value : [value]),
    z.array(item),
  );

/** A document as nested objects of texts. Throws R2Error MalformedXML. */
export function parseXml(text: string): Record<string, unknown> {
  // No client of S3 sends one, and entities of one's own need it.
  if (/<!(?:DOCTYPE|ENTITY)/i.test(text)) throw malformed();
  if (depthOf(text) > MAX_DEPTH || XMLValidator.validate(text) !== true) throw malformed();
  try {
    return parser.parse(text) as Record<string, unknown>;
  } catch {
    throw malformed();
  }
}

/** `root`: name of the document's element; arrays become many elements. */
export function buildXml(root: string, content: Record<string, unknown>, namespace = true): Buffer {
  const open = namespace ? `<${root} xmlns="${S3_NAMESPACE}">` : `<${root}>`;
  const inner = builder.build(content) as string;
  return Buffer.from(`<?xml version="1.0" encoding="UTF-8"?>\n${open}${withoutControls(inner)}</${root}>`);
}

function malformed(): R2Error {
  return new R2Error(
    'MalformedXML',
    'The XML you provided was not well formed or did not validate against our published schema.',
  );
}

/** How deep elements are nested at the most, about. */
function depthOf(text: string): number {
  let depth = 0;
  let most = 0;
  for (const [, close, , selfClosing] of text.matchAll(/<(\/?)([A-Za-z_][^\s/>]*)[^>]*?(\/?)>/g)) {
    if (close) depth--;
    else if (!selfClosing) most = Math.max(most, ++depth);
  }
  return most;
}

/**
 * XML 1.0 has no way to write most control characters: keys that hold them are asked for with encoding-type=url. A carriage return that is not
 * escaped is read as a line feed.
 */
function withoutControls(text: string): string {
  let clean = '';
  let from = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if ((code >= 32 && code < 0xfffe) || code === 9 || code === 10) continue;
    clean += text.slice(from, i) + (code === 13 ? '&#13;' : '\ufffd');
    from = i + 1;
  }
  return from === 0 ? text : clean + text.slice(from);
}
