/**
 * Patterns of `_headers`, `_redirects` and run_worker_first. They are a tenant's text, matched in a process that serves all
 * tenants: no regular expressions are made of them, and matching has a budget of steps.
 */

/** The text of a pattern, and its "*" and ":name": at least `min` characters, none of which is one of `stops`. */
type Token = { text: string } | { name: string; stops: string; min: 0 | 1 };

export interface Pattern {
  tokens: Token[];
  /** "https://host/path": matched against host and path. */
  withHost: boolean;
}

/** Steps left for one request; shared by all rules of a file. */
export interface Budget {
  steps: number;
}

/** Enough for 100 rules on long paths; what is past it does not match. */
export const MATCH_STEPS = 50_000;

const PLACEHOLDER = /:([A-Za-z]\w*)|\*/g;

/**
 * Compiles a rule's path. "*" matches anything and is called ":splat"; ":name" matches one or more characters up to the next "/"
 * (in a host also up to "."). Throws an Error if a name stands twice.
 */
export function compilePattern(rule: string): Pattern {
  const withHost = rule.startsWith('https://');
  const slash = rule.indexOf('/', 'https://'.length);
  const hostEnd = !withHost ? 0 : slash < 0 ? rule.length : slash;
  const tokens: Token[] = [];
  const names = new Set<string>();
  let at = 0;
  for (const found of rule.matchAll(PLACEHOLDER)) {
    if (found.index > at) tokens.push({ text: rule.slice(at, found.index) });
    at = found.index + found[0].length;
    const name = found[1] ?? 'splat';
    if (names.has(name)) {
      throw new Error(name === 'splat' ? 'only one "*" (":splat") is allowed in a path' : `":${name}" stands twice`);
    }
    names.add(name);
    const inHost = found.index < hostEnd;
    tokens.push(found[1] === undefined ? { name, stops: '', min: 0 } : { name, stops: inHost ? '/.' : '/', min: 1 });
  }
  if (at < rule.length) tokens.push({ text: rule.slice(at) });
  return { tokens, withHost };
}

/** The values of the placeholders if the pattern matches all of `text`, else null. Placeholders take as much as they can. */
export function matchPattern({ tokens }: Pattern, text: string, budget: Budget): Record<string, string> | null {
  const values: [string, string][] = [];
  return matchFrom(tokens, 0, text, 0, values, budget) ? Object.fromEntries(values) : null;
}

function matchFrom(
  tokens: Token[],
  index: number,
  text: string,
  at: number,
  values: [string, string][],
  budget: Budget,
): boolean {
  if (--budget.steps < 0) return false;
  const token = tokens[index];
  if (!token) return at === text.length;
  if ('text' in token) {
    return (
      text.startsWith(token.text, at) && matchFrom(tokens, index + 1, text, at + token.text.length, values, budget)
    );
  }
  const farthest = reach(text, at, token.stops);
  if (index === tokens.length - 1 && farthest < text.length) return false;
  const least = index === tokens.length - 1 ? text.length : at + token.min;
  for (let end = farthest; end >= Math.max(least, at + token.min); end--) {
    values.push([token.name, text.slice(at, end)]);
    if (matchFrom(tokens, index + 1, text, end, values, budget)) return true;
    values.pop();
    if (budget.steps < 0) return false;
  }
  return false;
}

function reach(text: string, at: number, stops: string): number {
  let end = text.length;
  for (const stop of stops) {
    const found = text.indexOf(stop, at);
    if (found >= 0 && found < end) end = found;
  }
  return end;
}

/** Puts the values in place of ":name"; names without a value stay as they are. */
export function fill(text: string, values: Record<string, string>): string {
  return text.replace(/:([A-Za-z]\w*)/g, (whole, name: string) =>
    Object.hasOwn(values, name) ? values[name]! : whole,
  );
}

/** Does `text` match `glob` from its character `from` on, where "*" stands for anything? Takes at most glob x text steps. */
export function matchGlob(glob: string, text: string, from = 0): boolean {
  let g = from;
  let t = 0;
  let star = -1;
  let resume = 0;
  while (t < text.length) {
    if (g < glob.length && glob[g] === '*') {
      star = g++;
      resume = t;
    } else if (g < glob.length && glob[g] === text[t]) {
      g++;
      t++;
    } else if (star >= 0) {
      g = star + 1;
      t = ++resume;
    } else return false;
  }
  while (g < glob.length && glob[g] === '*') g++;
  return g === glob.length;
}
