/**
 * `_redirects`: rules that send a path elsewhere, or (status 200) answer it with another file.
 * Source: https://developers.cloudflare.com/workers/static-assets/redirects/
 */
import type { HtmlHandling } from './html-handling.ts';
import { contentLines, type IgnoredLine, ruleUrl } from './rule-lines.ts';
import { type Budget, compilePattern, fill, matchPattern, type Pattern } from './rules.ts';

export const MAX_STATIC_REDIRECTS = 2000;
export const MAX_DYNAMIC_REDIRECTS = 100;

const STATUSES = new Set([200, 301, 302, 303, 307, 308]);

interface Target {
  to: string;
  status: number;
}

export interface RedirectRules {
  /** Path as in the URL -> target. Looked up first. */
  exact: Map<string, Target>;
  /** In the order of the file: rules with placeholders, and all rules that stand below the first of those. */
  dynamic: (Target & { pattern: Pattern })[];
}

/** Reads the file; lines without effect are in `ignored`. Never throws. */
export function parseRedirectsFile(
  text: string,
  htmlHandling: HtmlHandling,
): { rules: RedirectRules; ignored: IgnoredLine[] } {
  const rules: RedirectRules = { exact: new Map(), dynamic: [] };
  const ignored: IgnoredLine[] = [];
  const ignore = (line: IgnoredLine) => ignored.push(line);
  const seen = new Set<string>();
  for (const at of contentLines(text, ignore)) {
    try {
      const { from, to, status } = parseLine(at.line, htmlHandling);
      if (seen.has(from)) throw new Error(`There is a rule for ${from} already.`);
      const pattern = compilePattern(from);
      if (pattern.tokens.length === 1 && 'text' in pattern.tokens[0]! && rules.dynamic.length === 0) {
        if (rules.exact.size >= MAX_STATIC_REDIRECTS)
          throw new Error(`At most ${MAX_STATIC_REDIRECTS} static rules are allowed.`);
        rules.exact.set(from, { to, status });
      } else {
        if (rules.dynamic.length >= MAX_DYNAMIC_REDIRECTS) {
          ignore({
            ...at,
            message: `At most ${MAX_DYNAMIC_REDIRECTS} dynamic rules are allowed; this one and the rest are not read.`,
          });
          break;
        }
        rules.dynamic.push({ pattern, to, status });
      }
      seen.add(from);
    } catch (error) {
      ignore({ ...at, message: (error as Error).message });
    }
  }
  return { rules, ignored };
}

function parseLine(line: string, htmlHandling: HtmlHandling): { from: string; to: string; status: number } {
  // A "#" after a blank begins a comment; "/a /b#part" has a fragment.
  const tokens = line
    .replace(/\s#.*$/, '')
    .trimEnd()
    .split(/\s+/);
  if (tokens.length < 2 || tokens.length > 3) throw new Error('Expected "from to" or "from to status".');
  const from = ruleUrl(tokens[0]!, { keep: false, absolute: 'refused' });
  const to = ruleUrl(tokens[1]!, { keep: true, absolute: 'allowed' });
  const status = Number(tokens[2] ?? 302);
  if (!STATUSES.has(status)) throw new Error(`The status must be 200, 301, 302, 303, 307 or 308, not ${tokens[2]}.`);
  const absolute = to.startsWith('https://');
  const toIndex = !absolute && /\/index(\.html)?$/.test(to);
  if (toIndex && (from.endsWith('/*') || (from.endsWith('/') && htmlHandling !== 'none'))) {
    throw new Error('The rule would go round in circles: html_handling sends /index back to the path above it.');
  }
  if (absolute && status === 200) throw new Error('A rewrite (200) can only lead to a path.');
  return { from, to, status };
}

/** Rewrite: answer with the file of another URL pathname. Redirect: `location` is a URL, or a path with query and fragment. */
export type RedirectAnswer = { rewrite: string } | { status: number; location: string };

/** The rule that matches a URL pathname, applied. `search` ('' or "?...") is kept unless the target has its own. */
export function redirectAnswer(
  rules: RedirectRules,
  pathname: string,
  search: string,
  budget: Budget,
): RedirectAnswer | null {
  const target = rules.exact.get(pathname) ?? dynamicTarget(rules, pathname, budget);
  if (!target) return null;
  // A placeholder can make a target that is no URL ("https://:a.example" with a port in it): then the rule does not apply.
  if (!URL.canParse(target.to, 'http://self.invalid')) return null;
  const url = new URL(target.to, 'http://self.invalid');
  if (target.status === 200) return { rewrite: url.pathname };
  const tail = (url.search || search) + url.hash;
  if (url.origin === 'http://self.invalid') return { status: target.status, location: url.pathname + tail };
  const scheme = target.to.startsWith('//') ? '' : url.protocol;
  return { status: target.status, location: `${scheme}//${url.host}${url.pathname}${tail}` };
}

function dynamicTarget(rules: RedirectRules, pathname: string, budget: Budget): Target | null {
  for (const { pattern, to, status } of rules.dynamic) {
    const values = matchPattern(pattern, pathname, budget);
    if (!values) continue;
    const target = fill(to, values).trim();
    // What a splat took may begin with slashes: "//host" would leave this site.
    return { status, to: target.startsWith('https://') ? target : target.replace(/\/+/g, '/') };
  }
  return null;
}
