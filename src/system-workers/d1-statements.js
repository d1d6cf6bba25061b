/**
 * Cuts SQL text into its statements, by SQLite's own rules (https://www.sqlite.org/c3ref/complete.html): semicolons in strings, names and
 * comments are none, and a trigger ends with `; END;`.
 */

/** A word, a quoted text or name (perhaps not closed), a comment, or one other character. */
const TOKEN =
  /--[^\n]*|\/\*(?:[^*]|\*(?!\/))*(?:\*\/)?|'[^']*'?|"[^"]*"?|`[^`]*`?|\[[^\]]*\]?|[\w$\u0080-\uffff]+|\s+|[\s\S]/g;
const TRIGGER = /^(EXPLAIN )?CREATE (TEMP |TEMPORARY )?TRIGGER$/;
/** Words at the beginning that can tell a trigger. */
const TELLING_WORDS = 4;

/** The statements of `sql` without their semicolons and the comments around them. */
export function statements(sql) {
  const found = [];
  let start = -1;
  let end = 0;
  let words = [];
  let isTrigger = false;
  /** The two tokens before, as far as the end of a trigger depends on them. */
  let before = '';
  let last = '';
  for (const { 0: token, index } of sql.matchAll(TOKEN)) {
    if (/^(\s|--|\/\*)/.test(token)) continue;
    if (token === ';' && !(isTrigger && !(last === 'END' && before === ';'))) {
      if (start >= 0) found.push(sql.slice(start, end));
      start = -1;
      words = [];
      isTrigger = false;
      last = '';
      continue;
    }
    if (start < 0) start = index;
    end = index + token.length;
    before = last;
    last = token.toUpperCase();
    if (words.length < TELLING_WORDS) {
      words.push(last);
      isTrigger ||= TRIGGER.test(words.join(' '));
    }
  }
  if (start >= 0) found.push(sql.slice(start, end));
  return found;
}
