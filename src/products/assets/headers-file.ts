/**
 * `_headers`: rules that set and remove response headers by path.
 * Source: https://developers.cloudflare.com/workers/static-assets/headers/
 */
import { contentLines, type IgnoredLine, ruleUrl } from './rule-lines.ts';
import { type Budget, compilePattern, fill, matchPattern, type Pattern } from './rules.ts';

export const MAX_HEADER_RULES = 100;

export interface HeaderRule {
  path: string;
  pattern: Pattern;
  /** Lower-case name -> value, which may hold placeholders. */
  set: Map<string, string>;
  remove: string[];
}

/** RFC 9110 section 5.6.2 (token) and 5.5 (field-value without control characters). */
const NAME = /^[!#$%&'*+\-.^_`|~\w]+$/;
const VALUE = /^[\t\u0020-\u007e\u0080-\uffff]*$/;
const PATH = /^(?:\/|\S+:\/\/)/;
/** They belong to the connection or to the framing of the body, which the edge decides. */
const FORBIDDEN = new Set([
  'connection',
  'content-length',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** Reads the file; lines without effect are in `ignored`. Never throws. */
export function parseHeadersFile(text: string): { rules: HeaderRule[]; ignored: IgnoredLine[] } {
  const rules = new Map<string, HeaderRule>();
  const ignored: IgnoredLine[] = [];
  const ignore = (line: IgnoredLine) => ignored.push(line);
  let current: HeaderRule | null = null;
  let opened: { line: string; lineNumber: number } | null = null;
  // The headers below a refused path are refused with it, without a message each.
  let skipping = false;
  const close = () => {
    if (!current || !opened) return;
    if (current.set.size + current.remove.length > 0) rules.set(current.path, current);
    else ignore({ ...opened, message: 'No headers follow this path.' });
  };

  for (const at of contentLines(text, ignore)) {
    if (PATH.test(at.line)) {
      close();
      current = null;
      if (rules.size >= MAX_HEADER_RULES) {
        ignore({
          ...at,
          message: `At most ${MAX_HEADER_RULES} rules are allowed; this one and the rest are not read.`,
        });
        opened = null;
        break;
      }
      skipping = false;
      try {
        const path = ruleUrl(at.line, { keep: false, absolute: 'without port' });
        current = { path, pattern: compilePattern(path), set: new Map(), remove: [] };
        opened = at;
      } catch (error) {
        skipping = true;
        ignore({ ...at, message: (error as Error).message });
      }
    } else if (!skipping) {
      const problem = current ? addHeader(current, at.line) : 'A path must come before its headers.';
      if (problem) ignore({ ...at, message: problem });
    }
  }
  close();
  return { rules: [...rules.values()], ignored };
}

/** Returns what is wrong with the line, or null. */
function addHeader(rule: HeaderRule, line: string): string | null {
  const colon = line.indexOf(':');
  if (colon < 0) {
    const name = line.startsWith('! ') ? line.slice(2).trim().toLowerCase() : null;
    if (name === null) return 'Expected "Name: value" or "! Name".';
    if (!NAME.test(name)) return 'Not a header name.';
    if (FORBIDDEN.has(name)) return `The header ${name} cannot be removed.`;
    rule.remove.push(name);
    return null;
  }
  const name = line.slice(0, colon).trim().toLowerCase();
  const value = line.slice(colon + 1).trim();
  if (!NAME.test(name)) return name === '' ? 'The header has no name.' : 'Not a header name.';
  if (FORBIDDEN.has(name)) return `The header ${name} cannot be set.`;
  if (value === '') return 'The header has no value.';
  if (!VALUE.test(value)) return 'The value holds control characters.';
  const before = rule.set.get(name);
  rule.set.set(name, before === undefined ? value : `${before}, ${value}`);
  return null;
}

/**
 * Changes `headers` as the rules say that match the request, in the order of the file: what the server set is replaced, what two
 * rules set is joined. `hostname` has no port; `pathname` is as in the URL.
 */
export function applyHeaderRules(
  rules: readonly HeaderRule[],
  headers: [string, string][],
  request: { hostname: string; pathname: string },
  budget: Budget,
): void {
  const ours = new Set<string>();
  for (const rule of rules) {
    const text = rule.pattern.withHost ? `https://${request.hostname}${request.pathname}` : request.pathname;
    const values = matchPattern(rule.pattern, text, budget);
    if (!values) continue;
    for (const name of rule.remove) remove(headers, name);
    for (const [name, template] of rule.set) {
      const value = fill(template, values);
      const there =
        ours.has(name) && name !== 'set-cookie'
          ? headers.find((header) => header[0].toLowerCase() === name)
          : undefined;
      if (there) there[1] = `${there[1]}, ${value}`;
      else {
        if (!ours.has(name)) remove(headers, name);
        headers.push([name, value]);
      }
      ours.add(name);
    }
  }
}

function remove(headers: [string, string][], name: string): void {
  for (let i = headers.length - 1; i >= 0; i--) {
    if (headers[i]![0].toLowerCase() === name) headers.splice(i, 1);
  }
}
