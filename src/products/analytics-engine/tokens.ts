/** SQL as words: enough to find clauses and calls, no more. What a query may do is not decided here but by SQLite's authorizer. */

export interface Token {
  kind: 'word' | 'name' | 'string' | 'number' | 'sign';
  text: string;
}

/** The query cannot be served; `message` is for its author. */
export class QueryError extends Error {
  override name = 'QueryError';
}

const RULES: [kind: Token['kind'] | 'space', pattern: RegExp][] = [
  ['space', /(?:\s+|--[^\n]*|\/\*[\s\S]*?\*\/)+/y],
  ['string', /'(?:[^']|'')*'/y],
  ['name', /"(?:[^"]|"")*"|`(?:[^`]|``)*`/y],
  ['number', /(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?/y],
  ['word', /[A-Za-z_]\w*/y],
  ['sign', /<=|>=|<>|!=|==|\|\||[-+*/%<>=(),.;]/y],
];

/** Throws QueryError for what is no SQL. */
export function tokenize(sql: string): Token[] {
  const tokens: Token[] = [];
  for (let at = 0; at < sql.length; ) {
    const before = at;
    for (const [kind, pattern] of RULES) {
      pattern.lastIndex = at;
      const text = pattern.exec(sql)?.[0];
      if (!text) continue;
      at += text.length;
      if (kind !== 'space') tokens.push({ kind, text });
      break;
    }
    if (at === before) throw new QueryError(`The query is not valid at ${JSON.stringify(sql.slice(at, at + 20))}.`);
  }
  return tokens;
}

/** Is it this word or sign? Words in capitals. */
export function is(token: Token | undefined, ...texts: string[]): boolean {
  if (token?.kind !== 'word' && token?.kind !== 'sign') return false;
  return texts.includes(token.text.toUpperCase());
}

/** Index of the parenthesis that closes (or, with `by` -1, opens) what the one at `at` opens. Throws QueryError if there is none. */
export function matching(tokens: readonly Token[], at: number, by: 1 | -1 = 1): number {
  let depth = 0;
  for (let i = at; i >= 0 && i < tokens.length; i += by) {
    if (is(tokens[i], '(')) depth++;
    else if (is(tokens[i], ')')) depth--;
    if (depth === 0) return i;
  }
  throw new QueryError('A parenthesis of the query is not closed.');
}
