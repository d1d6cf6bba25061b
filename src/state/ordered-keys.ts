/** Strangers' names, of any Unicode text, as keys of a ledger. */

/**
 * The key of the document of `key` in a namespace: keeps the order of keys by their UTF-8 bytes. Escaped is what a ledger's key cannot have (NUL), or what
 * stands behind every prefix there (U+10FFFF), and what escapes them.
 */
export function ledgerKey(namespace: string, key: string): string {
  let escaped = key;
  for (const [character, as] of ESCAPES) escaped = escaped.replaceAll(character, as);
  return `${namespace}/${escaped}`;
}

/** In this order; undone in the other one. */
const ESCAPES: [character: string, as: string][] = [
  ['\u0001', '\u0001\u0002'],
  ['\0', '\u0001\u0001'],
  ['\u{10FFFE}', '\u{10FFFE}\u0001'],
  ['\u{10FFFF}', '\u{10FFFE}\u0002'],
];

/** The name of an entry from its document's key. */
export function nameOf(key: string, namespace: string): string {
  let name = key.slice(namespace.length + 1);
  for (const [character, as] of ESCAPES.toReversed()) name = name.replaceAll(as, character);
  return name;
}

/** Behind the documents of all keys in the namespace that begin with `prefix`. */
export function behindPrefix(namespace: string, prefix: string): string {
  return `${ledgerKey(namespace, prefix)}\u{10FFFF}`;
}
