/** Cap'n Proto text as workerd's configuration uses it: strings of strangers must not end their literal. */

/** A string literal. NUL and control characters are escaped; everything else is UTF-8 as it is. */
export function literal(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what has to be escaped
  const escaped = text.replace(/["\\\u0000-\u001f\u007f]/g, (character) => {
    if (character === '"' || character === '\\') return `\\${character}`;
    return `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`;
  });
  return `"${escaped}"`;
}

/** A struct: `(a = 1, b = "x")`. Values are text already; undefined fields are left out. */
export function struct(fields: Record<string, string | undefined>): string {
  const parts = Object.entries(fields).filter(([, value]) => value !== undefined);
  return `(${parts.map(([name, value]) => `${name} = ${value}`).join(', ')})`;
}

/** A list of values that are text already. */
export function list(values: string[]): string {
  return `[${values.join(', ')}]`;
}
