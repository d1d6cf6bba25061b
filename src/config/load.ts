/** Reads and checks a configuration file. Every error says file, line and column, what is wrong, and what would be right. */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import {
  findNodeAtLocation,
  getNodeValue,
  type Node,
  type ParseError,
  parseTree,
  printParseErrorCode,
} from 'jsonc-parser';
import type { z } from 'zod';
import { reason } from '../model/log.ts';
import { type Config, ConfigSchema } from './schema.ts';

const MAX_FILE_BYTES = 1024 * 1024;
/** More errors than this are the consequence of others. */
const MAX_ERRORS = 10;

/** The file cannot be used; `message` has one line per error. */
export class ConfigError extends Error {
  override name = 'ConfigError';
}

/** The configuration of a file; all defaults if `path` is undefined. Relative paths in it are relative to the file. Throws ConfigError. */
export function loadConfig(path: string | undefined): Config {
  if (path === undefined) return ConfigSchema.parse({});
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new ConfigError(`the configuration ${path} cannot be read: ${reason(error)}`);
  }
  const config = parseConfig(text, path);
  config.data = resolve(dirname(path), config.data);
  return config;
}

/** The same of a text; `name` stands in messages. */
export function parseConfig(text: string, name: string): Config {
  if (text.length > MAX_FILE_BYTES) throw new ConfigError(`${name}: more than ${MAX_FILE_BYTES} bytes`);
  const mistakes: ParseError[] = [];
  const tree = parseTree(text, mistakes, { allowTrailingComma: true, allowEmptyContent: true });
  if (mistakes.length > 0) {
    throw new ConfigError(
      mistakes
        .slice(0, MAX_ERRORS)
        .map(({ error, offset }) => `${name}:${position(text, offset)}: ${words(printParseErrorCode(error))}`)
        .join('\n'),
    );
  }
  const result = ConfigSchema.safeParse(tree ? getNodeValue(tree) : {});
  if (result.success) return result.data;
  throw new ConfigError(
    result.error.issues
      .slice(0, MAX_ERRORS)
      .map((issue) => `${name}:${position(text, offsetOf(tree, issue))}: ${describe(issue)}`)
      .join('\n'),
  );
}

/** Where the value is that an error speaks of, or its nearest parent that is there. */
function offsetOf(tree: Node | undefined, issue: z.core.$ZodIssue): number {
  const path = [...issue.path] as (string | number)[];
  if (issue.code === 'unrecognized_keys') path.push(issue.keys[0]!);
  for (; tree; path.pop()) {
    const node = findNodeAtLocation(tree, path);
    // The name of a property is where a person looks.
    if (node) return node.parent?.type === 'property' ? node.parent.offset : node.offset;
    if (path.length === 0) break;
  }
  return 0;
}

function describe(issue: z.core.$ZodIssue): string {
  const at = issue.path.join('.');
  if (issue.code === 'unrecognized_keys') {
    const known = Object.keys(shapeAt(issue.path) ?? {});
    const near = known.find((name) => similar(name, issue.keys[0]!));
    const hint = near ? `; did you mean ${near}?` : known.length > 0 ? `; known here: ${known.join(', ')}` : '';
    return `${at ? `${at}.` : ''}${issue.keys[0]} is not a setting${hint}`;
  }
  return at ? `${at}: ${issue.message}` : issue.message;
}

/** Names of the settings at a path, for hints. */
function shapeAt(path: PropertyKey[]): Record<string, unknown> | undefined {
  let schema: any = ConfigSchema;
  for (const part of [...path, null]) {
    while (schema?.def?.innerType) schema = schema.def.innerType;
    if (part === null) break;
    schema = schema?.shape?.[part];
  }
  return schema?.shape;
}

/** Equal but for case, separators and one more or less letter: a slip, not another word. */
function similar(a: string, b: string): boolean {
  const plain = (text: string) => text.toLowerCase().replace(/[^a-z0-9]/g, '');
  const [short, long] = [plain(a), plain(b)].sort((x, y) => x.length - y.length) as [string, string];
  if (long.length - short.length > 1 || short.length < 3) return false;
  let i = 0;
  while (i < short.length && short[i] === long[i]) i++;
  return short.slice(i) === long.slice(i + 1) || short.slice(i + 1) === long.slice(i + 1);
}

function position(text: string, offset: number): string {
  const before = text.slice(0, offset).split('\n');
  return `${before.length}:${before.at(-1)!.length + 1}`;
}

/** "CommaExpected" -> "comma expected". */
function words(code: string): string {
  return code.replace(/(?<=[a-z])[A-Z]/g, (letter) => ` ${letter}`).toLowerCase();
}
