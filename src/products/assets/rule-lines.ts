/** What `_headers` and `_redirects` have in common: lines, ignored lines, and URLs in rules. */

/** https://developers.cloudflare.com/workers/static-assets/headers/ and .../redirects/: "2,000 characters". */
export const MAX_LINE_LENGTH = 2000;

/** A line that has no effect, and why. `lineNumber` begins at 1. */
export interface IgnoredLine {
  lineNumber: number;
  line: string;
  message: string;
}

/** Lines that say something, trimmed. Those that are too long are reported to `ignore`. */
export function* contentLines(
  text: string,
  ignore: (line: IgnoredLine) => void,
): Generator<{ line: string; lineNumber: number }> {
  let lineNumber = 0;
  for (const raw of text.split('\n')) {
    lineNumber++;
    const line = raw.trim();
    if (line === '' || line.startsWith('#')) continue;
    if (line.length > MAX_LINE_LENGTH) {
      ignore({
        lineNumber,
        line: line.slice(0, 100),
        message: `The line has more than ${MAX_LINE_LENGTH} characters.`,
      });
    } else yield { line, lineNumber };
  }
}

const ABSOLUTE = /^https:\/\/+([^/?#]+)(.*)$/;

/**
 * A URL in a rule, normalised: "/path" or "https://host/path". Throws an Error that says why it cannot be one.
 * `keep`: keep query and fragment (targets) or cut them off (patterns).
 */
export function ruleUrl(
  token: string,
  options: { keep: boolean; absolute: 'allowed' | 'without port' | 'refused' },
): string {
  const absolute = ABSOLUTE.exec(token);
  if (absolute) {
    const [, host, rest] = absolute as unknown as [string, string, string];
    if (options.absolute === 'refused') throw new Error('Only paths are allowed here, not URLs with a host.');
    if (options.absolute === 'without port' && /:\d+$/.test(host)) throw new Error('A port cannot be given.');
    return `https://${host}${pathOf(rest.startsWith('/') ? rest : `/${rest}`, options.keep)}`;
  }
  if (token.startsWith('/')) return pathOf(token, options.keep);
  if (options.absolute === 'refused' && !token.includes('://')) return pathOf(`/${token}`, options.keep);
  throw new Error('A path must begin with "/", a URL with "https://".');
}

function pathOf(path: string, keep: boolean): string {
  const url = new URL(`http://host${path}`);
  return keep ? url.pathname + url.search + url.hash : url.pathname;
}
